"""What must not get in, sent to a real server: it says so in a sentence, nothing runs, nothing changes, it lives on."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="MONAI Label lives in an environment of its own: make test-monai-label")
import requests

from bundle.datasets.phantom_cohort import write_phantom_cohort
from bundle.monai_label.names import SHIPPED, SUPPORT_MASK, TRAINED
from tests.monai_label.label_server import Server, send
from tests.paths import ROOT

FRIEND = "https://viewer.example:3000"
LIMIT_BYTES = 4 << 20
STUDY = "phantom_00"
TRAIN = f"/train/{TRAINED}"
INFER = f"/infer/{SHIPPED}?image={STUDY}"
GROW = f"/infer/{SUPPORT_MASK}?image={STUDY}"
LABEL = f"/datastore/label?image={STUDY}"
UUID = "00000000-0000-0000-0000-000000000000"


def nifti(shape=(12, 12, 12), claimed=None, cut=None):
    """A NIfTI file's bytes; `claimed` is the shape that its header tells, `cut` how many bytes are left."""
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    image = nib.Nifti1Image(array, np.diag([4.0, 4.0, 4.0, 1.0]))
    content = bytearray(image.to_bytes())
    if claimed:
        content[40 : 40 + 2 * (1 + len(claimed))] = np.array([len(claimed), *claimed], np.int16).tobytes()
    return gzip.compress(bytes(content[:cut]))


GOOD = nifti()


def params(**content):
    return {"data": {"params": json.dumps(content)}}


def upload(field="file", name="a.nii.gz", content=GOOD, **more):
    return {"files": {field: (name, content)}, **more}


MARKER = ROOT / "made_by_a_hostile_request"  # commands and the server run there
TOUCH = f"touch {MARKER.name}"
RUN = f"__import__('os').system('{TOUCH}')"
# What a client wants to set -> it is not set.
SETTINGS = {
    "expression": f"embedding.max_epochs=${RUN}",
    "expression in JSON": f'embedding.max_epochs="\\u0024{RUN}"',
    "component in JSON": 'embedding.network_def={"_target_":"os.system","command":"' + TOUCH + '"}',
    "text in JSON": f'segmentation.architecture="{RUN}"',
    "reference": "segmentation.seed=@max_epochs",
    "another file": "segmentation.seed=%/etc/passwd",
    "place of the config": "embedding.network#_target_=os.system",
    "workflow": f'segmentation.run=["${RUN}"]',
    "imports": 'embedding.imports=["$import os"]',
    "place": 'segmentation.output_dir="/tmp"',
    "text for a number": 'embedding.max_epochs="3"',
    "truth for a number": "embedding.max_epochs=true",
    "number for a truth": "inference.keep_largest=1",
    "list": "embedding.max_epochs=[3]",
    "out of range": "embedding.max_epochs=1000000",
    "no number": "embedding.learning_rate=NaN",
    "endless": "embedding.learning_rate=Infinity",
    "nothing": "embedding.max_epochs=",
    "second of two": f"embedding.max_epochs=3;embedding.seed=${RUN}",
}
BODIES = {
    "set no text": {"set": {"embedding.max_epochs": {"_target_": "os.system"}}},
    "small no flag": {"small": "false"},
    "device with more": {"device": f"cpu'); {RUN} #"},
    "device two lines": {"device": "cpu\n"},
    "options": {"device": "--weights"},
    "another model": {"model": "../x"},
    "folder of code": {"bundle_path": "/tmp"},
    "gpus": {"gpus": f"0,1;{TOUCH}"},
    "unknown": {"max_epochs": 3},
    "nested": {TRAINED: {"set": f"embedding.max_epochs=${RUN}"}},
    "user of no text": {"client_id": {"a": 1}},
    "user that no answer can name": {"client_id": "\ud800"},
    "list": [],
    "text": "$x",
}
# Parameters of an inference.
PARAMS = {
    "image": {"image": "/etc/passwd"},
    "label": {"label": "/etc/passwd"},
    "model": {"model": TRAINED},
    "session": {"session": {"path": "/etc"}},
    "place of the result": {"result_extension": "/../../../x.nii.gz"},
    "suffix": {"result_extension": ".py"},
    "dtype": {"result_dtype": "$print"},
    "weights elsewhere": {"model_filename": "../../../x.pt"},
    "logging": {"logging": "NONE"},
    "save": {"save_label": True, "label_tag": "../../x"},
    "device": {"device": f"${RUN}"},
    "box of text": {"roi": ["1", 2, 3, 4, 5, 6]},
    "box of five": {"roi": [1, 2, 3, 4, 5]},
    "class with an expression": {"label_info": [{"name": f"${RUN}", "idx": 1}]},
    "class of code": {"label_info": [{"name": "_target_", "idx": 1}]},
    "class with an option": {"label_info": [{"name": "--output", "idx": 1}]},
    "class with two values": {"label_info": [{"name": "a:2,b", "idx": 1}]},
    "class of a folder": {"label_info": [{"name": "../x", "idx": 1}]},
    "class of no text": {"label_info": [{"name": ["a"], "idx": 1}]},
    "value beyond": {"label_info": [{"name": "a", "idx": 256}]},
    "value of text": {"label_info": [{"name": "a", "idx": "1"}]},
    "rows of text": {"label_info": "a"},
    "selected": {"selected_label_name": "@device"},
}
NAMES = [
    "../x",
    "..",
    "/tmp/x",
    "a/b",
    "a\\b",
    ".x",
    "",
    "%00",
    "a\nb",
    "$x",
    "@x",
    "%x",
    "a#b",
    "a::b",
    "-x",
    "a.nii.gz",
    "a" * 200,
]
OFF = [
    *(("GET", "/proxy/dicom/wado/x"), ("POST", "/proxy/dicom/x"), ("GET", f"/model/{SHIPPED}")),
    *(("PUT", f"/model/{SHIPPED}"), ("DELETE", f"/model/{SHIPPED}"), ("POST", f"/infer/wsi/{SHIPPED}")),
    *(("POST", f"/infer/wsi_v2/{SHIPPED}"), ("POST", f"/batch/infer/{SHIPPED}"), ("GET", "/logs/gpu")),
    *(("GET", "/datastore/dataset"), ("PUT", f"/datastore/image/info?image={STUDY}"), ("POST", "/reload")),
    *(("PUT", f"/datastore/updatelabelinfo?label={STUDY}&tag=final"), ("POST", "/scoring/dice")),
    *(("GET", "/report/"), ("GET", "/report/..%2fcohort.json"), ("GET", "/report/../run.json")),
    *(("GET", "/nothing"), ("PATCH", "/train/"), ("GET", "/ohif/.."), ("GET", "/ohif/..%2f..%2fetc/passwd")),
    *(("GET", "/static/../app.py"), ("GET", "//etc/passwd"), ("GET", "/datastore/../../etc/passwd")),
]
QUERIES = [
    *(("POST", f"{TRAIN}?run_sync=true"), ("POST", "/train/nothing"), ("POST", "/train/..%2fx")),
    *(("POST", "/activelearning/nothing"), ("POST", "/infer/nothing?image=phantom_00"), ("POST", f"/infer/{SHIPPED}")),
    *(("POST", f"/infer/{SHIPPED}?image=nothing"), ("POST", f"/infer/{SHIPPED}?image=LICENSE")),
    *(("POST", f"/infer/{SHIPPED}?image=/etc/passwd"), ("POST", f"{INFER}&image=/etc/passwd")),
    *(("POST", f"{INFER}&output=dicom_seg"), ("POST", f"{INFER}&output=x"), ("POST", f"{INFER}&session_id=../x")),
    *(("POST", f"{INFER}&session_id={UUID}"), ("GET", "/session/.."), ("GET", f"/session/{UUID}")),
    *(("DELETE", "/session/..%2f.."), ("DELETE", "/session/%2e%2e"), ("GET", "/train/?check_if_running=x")),
    *(
        ("DELETE", "/datastore/image?id=nothing"),
        ("DELETE", "/datastore/?id=../marker"),
        ("DELETE", "/datastore/image"),
    ),
    *(("DELETE", f"/datastore/label?id={STUDY}&tag=../x"), ("GET", "/datastore/image?image=../x.nii.gz")),
    *(("GET", f"/datastore/label?label={STUDY}&tag=.."), ("GET", "/datastore/label?label=x&tag=final")),
    *(("GET", f"/datastore/label/info?label={STUDY}&tag=x"), ("GET", "/datastore/image/info?image=x")),
    *(("GET", "/datastore/?output=x"), ("GET", "/logs/?lines=x"), ("POST", f"/infer/{TRAINED}?image={STUDY}")),
    ("GET", "/train/?check_if_running=true"),
]
FILES = {
    "no file": ("PUT", "/datastore/image?image=new", params()),
    "empty file": ("PUT", "/datastore/image?image=new", upload(content=b"")),
    "no volume": ("PUT", "/datastore/image?image=new", upload(content=b"MZ" * 500)),
    "no gzip": ("PUT", f"/datastore/image?image={STUDY}", upload(content=b"x" * 5000)),
    "cut off": ("PUT", f"/datastore/image?image={STUDY}", upload(content=nifti(cut=1000))),
    "claims more than it holds": ("PUT", "/datastore/image?image=new", upload(content=nifti(claimed=(64, 64, 64)))),
    "claims more than there is memory": (
        *("PUT", "/datastore/image?image=new", upload(content=nifti(claimed=(30000, 30000, 30000)))),
    ),
    "two volumes": ("PUT", "/datastore/image?image=new", upload(content=nifti((12, 12, 12, 2)))),
    "code": ("PUT", "/datastore/image?image=new", upload(name="x.py")),
    "voxels elsewhere": (
        *("PUT", LABEL, upload("label", "x.nrrd", b"NRRD0004\ntype: uchar\nData File: /etc/passwd\n\n")),
    ),
    "header alone": ("PUT", LABEL, upload("label", "x.nhdr", b"NRRD0004\ndata file: /etc/passwd\n\n")),
    "text as label": ("PUT", LABEL, upload("label", "x.nii.gz", b"text")),
    "label of no study": ("PUT", "/datastore/label?image=nothing", upload("label")),
    "label's params no JSON": ("PUT", LABEL, upload("label", data={"params": "{"})),
    "label's params a list": ("PUT", LABEL, upload("label", data={"params": "[]"})),
    "label's params deep": ("PUT", LABEL, upload("label", data={"params": "[" * 100_000})),
    "label's model": ("PUT", LABEL, upload("label", data=params(model="../x")["data"])),
    "label's params spoof": ("PUT", LABEL, upload("label", data=params(predicted_dice={"a": "b"})["data"])),
    "another field": ("PUT", LABEL, upload("label", data={"user": "x"})),
    "another file": ("PUT", LABEL, {"files": {"label": ("a.nii.gz", GOOD), "x": ("b", b"b")}}),
    "image as text": ("PUT", "/datastore/image?image=new", {"data": {"file": "x"}}),
    "empty strokes": ("POST", GROW, upload("label", content=b"")),
    "image to segment is none": ("POST", f"/infer/{SHIPPED}", upload(content=b"x")),
    "image and session": ("POST", f"/infer/{SHIPPED}?session_id=../../studies", upload()),
    "session of no volume": ("PUT", "/session/", upload("files", "x.zip", b"PK")),
    "session of an archive": ("PUT", "/session/?uncompress=true", upload("files", "x.tar", b"x")),
    "session of nothing": ("PUT", "/session/", {}),
    "session's fields": ("PUT", "/session/", upload("files", data={"x": "y"})),
}
RAW = {
    "no JSON": ("POST", TRAIN, {"content-type": "application/json"}, b'{"set": '),
    "deep JSON": ("POST", TRAIN, {"content-type": "application/json"}, b"[" * 100_000),
    "not UTF-8": ("POST", TRAIN, {"content-type": "application/json"}, b'{"set": "\xff\xfe"}'),
    "lone surrogate": ("POST", TRAIN, {"content-type": "application/json"}, b'{"\\ud800": 1}'),
    "JSON as text": ("POST", TRAIN, {"content-type": "text/plain"}, b'{"small": true}'),
    "form for JSON": ("POST", TRAIN, {"content-type": "application/x-www-form-urlencoded"}, b"small=true"),
    "long JSON": ("POST", TRAIN, {"content-type": "application/json"}, b'{"client_id": "' + b"x" * (2 << 20) + b'"}'),
    "broken form": ("PUT", LABEL, {"content-type": "multipart/form-data; boundary=x"}, b"--y\r\n"),
    "form without boundary": ("PUT", LABEL, {"content-type": "multipart/form-data"}, b"--y\r\n"),
    "params twice": (
        *("POST", INFER, {"content-type": "application/x-www-form-urlencoded"}),
        b"params=%7B%22image%22%3A%22/etc/passwd%22%7D&params=%7B%7D",
    ),
}
HEADERS = {
    "foreign page": {"Origin": "http://evil.example"},
    "page without origin": {"Origin": "null"},
    "page of a like name": {"Origin": "http://localhost.evil.example"},
    "page of a like address": {"Origin": "http://127.0.0.1.evil.example:8000"},
    "page behind a user": {"Origin": "http://127.0.0.1@evil.example"},
    "friend by another port": {"Origin": "https://viewer.example"},
    "friend by another scheme": {"Origin": "http://viewer.example:3000"},
    "foreign host": {"Host": "evil.example"},
    "host with our port": {"Host": "evil.example:8000"},
    "host of a like name": {"Host": "localhost.evil.example"},
    "host behind a user": {"Host": "127.0.0.1@evil.example"},
    "no host": {"Host": ""},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def server(root):
    cohort = write_phantom_cohort(root / "cohort", count=2, held_out=0, spacing_mm=(8.0, 8.0, 8.0))
    studies = root / "desk" / "studies"
    studies.mkdir(parents=True)
    for file in (cohort / "images").glob("*.nii.gz"):
        (studies / file.name).write_bytes(file.read_bytes())
    (root / "desk" / "x.nii.gz").write_bytes(b"outside")
    server = Server(
        *(studies, root / "desk" / "app"),
        ["--shipped", "--allow-origin", FRIEND, "--upload-limit-gib", str(LIMIT_BYTES / 2**30)],
    )
    yield server
    server.kill()


def snapshot(root):
    """Size and time of each file but what every request writes: logs, and the datastore's lock."""
    files = [*root.rglob("*"), *(ROOT / "models").rglob("*")]
    kept = [file for file in files if file.is_file() and file.suffix != ".log" and file.name != ".lock"]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in kept}


@pytest.fixture
def refused(server, root):
    """Send a request that must be refused and change nothing."""
    before = snapshot(root)

    def check(method, path, headers=(), body=None):
        status, text = send(server, method, path, headers, body)
        assert 400 <= status < 500, f"{status}: {text}"
        assert method == "HEAD" or len(json.loads(text)["detail"]) > 10, "a sentence"
        assert "Traceback" not in text
        return text

    def check_content(method, path, content):
        prepared = requests.Request(method, server.url("/"), **content).prepare()
        return check(method, path, prepared.headers, prepared.body)

    check.content = check_content
    yield check
    assert snapshot(root) == before
    assert not MARKER.exists(), "nothing ran"
    assert server.get("/info/").status_code == 200
    assert server.get("/train/").status_code == 404, "no training was started"


@pytest.mark.parametrize("text", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_is_no_plain_value_of_the_list_is_refused(refused, text):
    refused.content("POST", TRAIN, {"json": {"set": text}})
    refused.content("POST", "/train/", {"json": {TRAINED: {"set": text}}})


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_of_a_training_that_holds_anything_else_is_refused(refused, body):
    refused.content("POST", TRAIN, {"json": body})


@pytest.mark.parametrize("content", PARAMS.values(), ids=PARAMS)
def test_parameters_of_an_inference_that_are_not_on_the_list_are_refused(refused, content):
    refused.content("POST", INFER, params(**content))
    refused.content("POST", GROW, upload("label", data={"params": json.dumps(content)}))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_could_lead_elsewhere_is_refused(refused, name):
    quoted = requests.utils.quote(name, safe="")
    refused.content("PUT", f"/datastore/image?image={quoted}", upload())
    refused.content("PUT", f"/datastore/?image={quoted}", upload())
    refused.content("PUT", f"/datastore/label?image={quoted}", upload("label"))
    refused.content("PUT", f"{LABEL}&tag={quoted or '.'}", upload("label"))


@pytest.mark.parametrize(("method", "path"), [*OFF, *QUERIES], ids=lambda value: value)
def test_what_is_not_offered_or_not_there_is_refused(refused, method, path):
    refused(method, path)


@pytest.mark.parametrize(("method", "path", "content"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_volume_is_refused(refused, method, path, content):
    refused.content(method, path, content)


@pytest.mark.parametrize(("method", "path", "headers", "body"), RAW.values(), ids=RAW)
def test_a_body_that_cannot_be_read_is_refused(refused, method, path, headers, body):
    refused(method, path, headers, body)


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_a_foreign_page_or_host_name_is_refused(refused, headers):
    refused("GET", "/info/", headers)
    refused("POST", TRAIN, {**headers, "content-type": "application/json"}, b"{}")
    refused("OPTIONS", TRAIN, {"Access-Control-Request-Method": "POST", **headers})


def test_an_upload_beyond_the_limit_is_refused_before_it_is_there(refused, server):
    path = "/datastore/image?image=large"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii.gz"\r\n\r\n'
    assert "--upload-limit-gib" in refused("PUT", path, {**kind, "content-length": str(LIMIT_BYTES + 1)})

    def pieces():
        yield head
        for _ in range(LIMIT_BYTES // 65536 + 2):
            yield bytes(65536)

    assert "--upload-limit-gib" in refused("PUT", path, kind, pieces())


@pytest.mark.parametrize("origin", [FRIEND, "http://localhost:5000", "http://127.0.0.1", "https://[::1]:99"])
def test_pages_of_loopback_and_of_whom_the_user_names_may_ask(server, origin):
    answer = requests.get(server.url("/info/"), headers={"Origin": origin}, timeout=60)
    assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == origin
    wish = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    assert requests.options(server.url(TRAIN), headers=wish, timeout=60).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "[::1]:8000", "viewer.example"])
def test_the_server_answers_by_names_of_loopback_and_of_whom_the_user_names(server, host):
    assert send(server, "GET", "/info/", {"Host": host})[0] == 200


def test_a_session_is_kept_in_the_apps_folder_and_segmented(server):
    """As 3D Slicer does with a volume that the server does not have; the volume may have any name there."""
    image = (server.studies / f"{STUDY}.nii.gz").read_bytes()
    files = {"files": ("C:\\a b\\$x.nii.gz", image)}
    made = requests.put(server.url("/session/"), files=files, data={"client_id": "me"}, timeout=60)
    session = made.json()["session_id"]
    kept = list((server.app / "sessions" / session).iterdir())
    assert sorted(file.name for file in kept) == ["meta.info", "upload.nii.gz"]
    answer = server.post(f"/infer/{SHIPPED}?image=2%3A+a/b&session_id={session}&output=image", **params(client_id="me"))
    assert answer.status_code == 200, answer.text
    assert requests.delete(server.url(f"/session/{session}"), timeout=60).status_code == 200
    assert not (server.app / "sessions" / session).exists()


def test_a_study_is_not_mistaken_for_a_file_where_the_server_was_started(server):
    """MONAI Label looks there first."""
    image = (server.studies / f"{STUDY}.nii.gz").read_bytes()
    added = requests.put(server.url("/datastore/image?image=LICENSE"), **upload(content=image), timeout=60)
    assert added.json() == {"image": "LICENSE"} and (ROOT / "LICENSE").is_file()
    answer = server.post(f"/infer/{SHIPPED}?image=LICENSE&output=image", **params(result_extension=".nii.gz"))
    assert answer.status_code == 200, answer.text
    assert requests.delete(server.url("/datastore/image?id=LICENSE"), timeout=60).status_code == 200
