"""Strings and files that want to be run, or to lie elsewhere: nothing runs, nothing outside the folder changes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scripts.common.files import read_json, write_json
from tests.campaign.trials import Attempt, Ended, Lost, expect_end, last_line, run
from tests.pipeline_fixtures import make_cohort, make_weights, save, volume

PART = "hostile"
MARK = "mark"
CODE = f"__import__('pathlib').Path({MARK!r}).touch()"
# Names of files, folders and classes: what a config parser, a shell, a page or a file system might take for its own.
NAMES = (
    f"${CODE}",
    f"$import {MARK}",
    "@device",
    "@network_def#_target_",
    "%config",
    "%configs::train.json",
    "_target_",
    "_disabled_",
    "a#b",
    "a::b",
    "##x",
    "+x",
    "~x",
    "$(touch mark)",
    "`touch mark`",
    ";touch mark",
    "-rf",
    "--output",
    "{0}%s%n",
    "<script>alert(1)</script>",
    '"quoted"',
    "it's",
    "\\u0024x",
    "a\nb",
    " blank ",
    "ümläut-肝",
    "null",
    "x" * 200,
)
EXPRESSIONS: tuple[Any, ...] = (
    f"${CODE}",
    {"_target_": "os.mkdir", "path": MARK},
    "@device",
    [f"${CODE}"],
    "\udcff",
    1e9,
)
PACKAGE_NAMES = ("", ".", "..", "../x", "/tmp/x", "a/b", f"${CODE}", "a b", "-x", "x\0y", "x" * 300)


def attempts() -> Iterator[Attempt]:
    """Every string in every place that strings come from."""
    for name in NAMES:
        yield Attempt(f"a volume called {name[:40]!r}", partial(_named, name, _infer_named))
        yield Attempt(f"a class called {name[:40]!r}", partial(_named, name, _class_named))
        yield Attempt(f"an output folder called {name[:40]!r}", partial(_named, name, _output_named))
    yield Attempt("a volume whose name is no UTF-8", partial(_named, os.fsdecode(b"caf\xe9"), _infer_named))
    for key in ("classes", "spacing_mm", "patch_size", "architecture", "channels", "crop_to_body"):
        for value in EXPRESSIONS:
            yield Attempt(f"a network's card with {key} {_short(value)}", partial(_guarded, partial(_card, key, value)))
    for key in ("images", "support", "mode", "small", "overrides", "weights", "device", "classes"):
        for value in EXPRESSIONS[:3]:
            yield Attempt(f"run.json with {key} {_short(value)}", partial(_guarded, partial(_saved_run, key, value)))
    for value in EXPRESSIONS:
        planted = {"point_propagation": {"tau": value}}
        yield Attempt(
            f"run.json with tau {_short(value)}", partial(_guarded, partial(_saved_run, "overrides", planted))
        )
    for key in ("classes", "cases", "scribbles", "support"):
        yield Attempt(f"cohort.json with {key} that is code", partial(_guarded, partial(_saved_cohort, key)))
    for name in PACKAGE_NAMES:
        yield Attempt(f"a package called {name[:40]!r}", partial(_guarded, partial(_package, name)))
    for kind in ("a pickle", "a script", "a zip of nothing"):
        yield Attempt(f"weights that are {kind}", partial(_guarded, partial(_weights, kind)))


def _short(value: Any) -> str:
    return json.dumps(value)[:30]


def _guarded(attempt: Callable[[Path], Ended], folder: Path) -> str:
    """Make the attempt beside a file that is not its own; nothing may run, and all else stay as it is."""
    bystander, inside = folder / "bystander.txt", folder / "inside"
    bystander.write_text("not yours", encoding="utf-8")
    inside.mkdir()
    before = Path.cwd()
    os.chdir(inside)
    try:
        ended = attempt(inside)
    finally:
        os.chdir(before)
    marks = [path for path in folder.rglob(f"*{MARK}") if path.name == MARK]
    if marks:
        raise Lost("it ran")
    beside = sorted(path.name for path in folder.iterdir())
    if beside != ["bystander.txt", "inside"] or bystander.read_text(encoding="utf-8") != "not yours":
        raise Lost(f"outside changed: {beside}")
    if ended.status != 0 and not ended.refused:
        raise Lost(f"exit {ended.status}: {last_line(ended.text)}")
    shutil.rmtree(folder)
    return "works" if ended.status == 0 else "refused"


def _named(name: str, attempt: Callable[[str, Path], Ended], folder: Path) -> str:
    return _guarded(partial(attempt, name), folder)


def _network(folder: Path, **changes: Any) -> Path:
    """An untrained segmentation network and its card."""
    from scripts.networks.model_files import write_model
    from scripts.networks.segmenter import segmentation_network

    channels = [2, 4]
    card = {"classes": {"spleen": 1, "liver": 6}, "spacing_mm": [4.0] * 3, "patch_size": [16] * 3}
    card |= {"architecture": "unet", "channels": channels, "crop_to_body": False}
    write_model(folder, segmentation_network("unet", 3, channels), card)
    if changes:
        write_json(folder / "model.json", read_json(folder / "model.json") | changes)
    return folder


def _infer(images: Path, model: Path, folder: Path) -> Ended:
    command = ["infer", "--images", str(images), "--model", str(model), "--output", str(folder / "out")]
    return run([*command, "--device", "cpu"], folder)


def _infer_named(name: str, folder: Path) -> Ended:
    try:
        save(folder / "images" / f"{name}.nii.gz", volume(0))
    except OSError:  # this file system has no such name
        return Ended(0, "")
    ended = _infer(folder / "images", _network(folder / "model"), folder)
    made = folder / "out" / f"{name}.nii.gz"
    if ended.status == 0 and not made.exists():
        raise Lost("no label map of it")
    return ended


def _cohort_command(folder: Path, classes: str, output: Path) -> list[str]:
    make_cohort(folder)
    return [
        *("propagate", "--mode", "paper", "--small", "--device", "cpu", "--output", str(output)),
        *("--images", str(folder / "images"), "--support", str(folder / "images" / "case_0.nii.gz")),
        *("--scribbles", str(folder / "scribbles.nii.gz"), "--classes", classes, "--background", "14"),
        *("--weights", str(make_weights(folder / "prnet"))),
        *("--set", "point_propagation.tau=-1.0", "--set", "pseudo_labels.geodesic_spacing_mm=[4.0,4.0,4.0]"),
    ]


def _class_named(name: str, folder: Path) -> Ended:
    return run(_cohort_command(folder, f"{name}:1,liver:6", folder / "out"), folder)


def _output_named(name: str, folder: Path) -> Ended:
    return run(_cohort_command(folder, "spleen:1,liver:6", folder / name), folder)


def _card(key: str, value: Any, folder: Path) -> Ended:
    make_cohort(folder)
    return _infer(folder / "images", _network(folder / "model", **{key: value}), folder)


def _saved(folder: Path) -> Path:
    """The output folder of a run that ended."""
    output = folder / "out"
    expect_end(run(_cohort_command(folder, "spleen:1,liver:6", output), folder))
    return output


def _changed(file: Path, change: Mapping[str, Any]) -> None:
    content = read_json(file) | dict(change)
    file.write_text(json.dumps(content), encoding="utf-8")


def _saved_run(key: str, value: Any, folder: Path) -> Ended:
    output = _saved(folder)
    _changed(output / "run.json", {key: value})
    settings = ("channels=[2,4]", "patch_size=[16,16,16]", "samples_per_epoch=2", "spacing_mm=[4,4,4]")
    sets = [part for setting in settings for part in ("--set", f"segmentation.{setting}")]
    epochs = [] if key == "overrides" else ["--set", "segmentation.max_epochs=1"]
    return run(["train", "--output", str(output), *sets, *epochs], folder)


def _saved_cohort(key: str, folder: Path) -> Ended:
    output = _saved(folder)
    _changed(output / "cohort.json", {key: {f"${CODE}": f"${CODE}"}})
    return run(_cohort_command(folder, "spleen:1,liver:6", output), folder)


def _package(name: str, folder: Path) -> Ended:
    task = folder / "task"
    _network(task / "segmentation")
    (folder / "terms.txt").write_text("Synthetic.\n", encoding="utf-8")
    given = ["--task", str(task), "--data-terms", str(folder / "terms.txt"), "--authors", "nobody"]
    return run(["package", "--name", name, "--output", str(folder / "out"), *given], folder)


def _weights(kind: str, folder: Path) -> Ended:
    make_cohort(folder)
    model = _network(folder / "model")
    if kind == "a pickle":
        torch.save(_Pickled(), model / "model.pt")
    else:
        (model / "model.pt").write_bytes(
            f"import os\n{CODE}\n".encode() if kind == "a script" else b"PK\5\6" + bytes(18)
        )
    ended = _infer(folder / "images", model, folder)
    if ended.status == 0 or "weights_only=False" in ended.text:
        raise Lost("taken" if ended.status == 0 else "it advises to run them")
    return ended


class _Pickled:
    """Runs `CODE` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (CODE,)
