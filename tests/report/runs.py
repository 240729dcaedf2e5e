"""Small finished runs for tests of the report, and the text of its page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np

from bundle.report.browser.data_files import key_of
from scripts.common.files import write_json
from scripts.common.work_folder import WorkFolder
from scripts.data.case import Case
from scripts.data.records import KEPT, PointSet, PropagationRecord

SPACING_MM = (2.0, 3.0, 4.0)
CLASSES = {"spleen": 1, "left_kidney": 3}
CASES = ("case_0", "case_1", "case_2", "case & <3>")
SIZE = 24
LPS = np.diag([-2.0, -3.0, 4.0, 1.0])
SHEARED = np.array([[-2.0, 0, 0, 0], [0, -3, 3, 0], [0, 0, 4, 0], [0, 0, 0, 1]])  # voxels as large as those of LPS


def label_map(shift: int = 0, kidney: bool = True) -> np.ndarray:
    """(X, Y, Z): a spleen of 6 x 6 x 6 voxels, `shift` voxels along X, and a kidney as large."""
    labels = np.zeros((SIZE,) * 3, np.uint8)
    labels[4 + shift : 10 + shift, 5:11, 6:12] = 1
    if kidney:
        labels[14:20, 5:11, 6:12] = 3
    return labels


def propagation(case: str, kept: dict[str, int], total: int = 4, **changes: Any) -> PropagationRecord:
    """Class -> how many of its `total` points were kept; all kept ones score 0.6, at x = 0, y = 0, 1, ... mm."""
    numbers = [(name, n, n < count) for name, count in kept.items() for n in range(total)]
    count = len(numbers)
    points = PointSet(
        labels=np.array([CLASSES.get(name, 0) for name, _, _ in numbers]),
        support_voxels=np.ones((count, 3), int),
        support_mm=np.zeros((count, 3)),
        located_mm=np.array([[0.0, n, 0.0] for _, n, _ in numbers]),
        working_voxels=np.ones((count, 3), int),
        scores=np.full(count, 0.6),
        reasons=np.array([KEPT if is_kept else "similarity" for _, _, is_kept in numbers], dtype=object),
        similarities={"m2": np.full(count, 0.9), "m4": np.full(count, 0.8)},
    )
    values: dict[str, Any] = {"rule": {"name": "dual", "levels": ["m2", "m4"], "tau": 0.5}, **changes}
    return PropagationRecord(
        case=case, support="case_0", spacing_mm=(4.0, 4.0, 4.0), classes=CLASSES, points=points, **values
    )


def propagate(out: Path, case: str, **changes: Any) -> None:
    """Write a case's record: case_1 has lost its kidney."""
    counts = {"spleen": 3, "left_kidney": 0 if case == "case_1" else 4, "background": 4}
    write_json(WorkFolder(out).propagation.record(case), propagation(case, counts, **changes).to_json())


def save(folder: Path, array: np.ndarray, case: str, affine: np.ndarray = LPS) -> None:
    """Write `folder/CASE.nii.gz` with its own dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), folder / f"{case}.nii.gz")


def cohort(out: Path, **changes: Any) -> dict[str, Any]:
    """Content of `cohort.json`."""
    images = {name: out / "images" / f"{name}.nii.gz" for name in CASES}
    grid = {"shape": (SIZE,) * 3, "spacing_mm": SPACING_MM, "affine": LPS.tolist(), "orientation": "LPS"}
    return {
        "output_dir": str(out),
        "spacing_mm": [4, 4, 4],
        "cases": {name: Case(name, image, image, sha256="", **grid).to_json() for name, image in images.items()},
        "rejected": {"bad": {"file": "bad.nii.gz", "reason": "the volume is constant: the value 0 everywhere"}},
        "support": "case_0",
        "scribbles": "scribbles.nii.gz",
        "classes": CLASSES,
        "background": 14,
        "assumptions": ["Strokes of liver count as background."],
        "warnings": {"case_2": ["the values are clipped to -50 to 150"]},
        "unused": {"images/notes.txt": "no volume", "images/list.csv": "no volume"},
        **changes,
    }


def build_run(out: Path) -> Path:
    """A finished run of four cases: case_1 misses its kidney, case_2's maps disagree a little, the others are fine."""
    work = WorkFolder(out)
    image = np.random.default_rng(0).integers(-200, 300, (SIZE,) * 3).astype(np.int16)
    for case in CASES:
        save(out / "images", image, case)
        save(work.pseudo_labels.path, label_map(kidney=case != "case_1"), case)
        save(work.predictions.path, label_map(shift=2 if case == "case_2" else 0), case)
        propagate(out, case)
    scribbles = np.zeros((SIZE,) * 3, np.uint8)
    scribbles[5:9, 7, 8], scribbles[15:19, 7, 8], scribbles[2:20, 20, 8] = 1, 3, 14
    save(out, scribbles, "scribbles")
    write_json(work.cohort, cohort(out))
    write_json(work.settings, {"mode": "paper", "small": True, "weights": None})
    stage = {"inputs": "", "config": "", "done": True, "seconds": 75.0, "peak_memory_mb": 512.0}
    write_json(work.state, {"propagation": stage})
    return out


def build_support_mask_alone(out: Path) -> Path:
    """What the command `support-mask` leaves of the same cohort: case_0 is the support, case_2 has a warning."""
    work = WorkFolder(build_run(out))
    for folder in (work.pseudo_labels.path, work.predictions.path, work.propagation.path):
        shutil.rmtree(folder)
    save(work.support_mask.path, label_map(), "case_0")
    write_json(work.settings, {"mode": "default", "small": True, "weights": None})
    return out


def add_training(out: Path) -> None:
    """A round of label correction and a curve of the coarse network."""
    work = WorkFolder(out)
    flips = {"background": {"added": 0, "removed": 3}, "spleen": {"added": 3, "removed": 0}}
    rounds = [{"round": 7, "delta": {"background": 0.95, "spleen": 0.94}, "flips": flips, "voxels": 3}]
    write_json(work.segmentation / "flips.json", rounds)
    write_curve(work.prnet / "coarse", "epoch,seconds,train_loss,val_offset_error_mm\n1,2.0,90,\n2,4.0,80,12\n")


def write_curve(folder: Path, text: str) -> None:
    """`folder/curve.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curve.csv").write_text(text, encoding="utf-8")


def tree_of(path: Path) -> ElementTree.Element:
    """The page as XML, which it must be, too."""
    return ElementTree.fromstring(path.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n"))


def data_of(path: Path) -> dict[str, Any]:
    """What the page's scripts show."""
    element = next(one for one in tree_of(path).iter("script") if one.get("id") == "report-data")
    return json.loads(element.text)


def beside(path: Path, kind: str, case: str) -> Any:
    """The value that a file beside the page hands over for a case."""
    key = key_of(case)
    lines = (path.parent / "cases" / f"{key}_{kind}.js").read_text(encoding="ascii").split("\n")
    assert lines[1] == f'oneshotReport.receive("{kind}","{key}",' and lines[3:] == [");", ""]
    return json.loads(lines[2])


def panel_of(path: Path, case: str) -> ElementTree.Element:
    """What is shown of an opened case, as XML."""
    return ElementTree.fromstring(f"<div>{beside(path, 'panel', case)}</div>")


def lines_of(path: Path, case: str) -> dict[str, tuple[int, list[str]]]:
    """Organ -> whether it is flagged, and why, of a case in the table; "" is the whole volume."""
    data = data_of(path)
    names = [one["name"] for one in data["classes"]] + [""]
    entry = next(one for one in data["cases"] if one["id"] == case)
    return {names[line[0]]: (line[5], [data["texts"][number] for number in line[6]]) for line in entry["lines"]}


def text_of(path: Path) -> str:
    """The page's words, with those of its table, and of all that it loads."""
    tree, data = tree_of(path), data_of(path)
    scripts = {id(one) for name in ("script", "style") for one in tree.iter(name)}
    words = [text for one in tree.iter() if id(one) not in scripts for text in (one.text, one.tail) if text]
    for case in [entry["id"] for entry in data["cases"]]:
        told = [f"{organ}: {reason}" for organ, (_, reasons) in lines_of(path, case).items() for reason in reasons]
        words += [case, *told]
    for file in sorted((path.parent / "cases").glob("*.js")):
        value = json.loads(file.read_text(encoding="ascii").split("\n")[2])
        words += ElementTree.fromstring(f"<div>{value}</div>").itertext() if isinstance(value, str) else []
    return " ".join(" ".join(words).split())
