"""What the user submitted in MONAI Label: strokes on one study, and later whole organs that she corrected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bundle.monai_label.drawn_on import has_former_look, hash_of_image, is_drawn_on, look_file, tell_replaced
from bundle.monai_label.names import DRAWN_ON, INSIDE_PANEL, LOOKS, OUTSIDE, OUTSIDE_PANEL, SUBMITTED
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file, write_json, write_nifti
from scripts.data.reading.slicer_segments import is_background, of_classes, refuse_same_names
from scripts.data.volume_io import Volume, case_id, read_labels

STAGE = "MONAI Label"
SUBMIT_AGAIN = "rename them as in the strokes and submit again, or remove this label"
INSIDE_ORGANS, OUTSIDE_ORGANS = 1, 2  # in what was drawn to see what grows from it
BACKGROUND = 255  # value of the background strokes that are taken from there


class Datastore(Protocol):
    """What is used of MONAI Label's datastore."""

    def list_images(self) -> list[str]: ...

    def get_image_uri(self, image_id: str) -> str: ...

    def get_labels_by_image_id(self, image_id: str) -> Mapping[str, str]: ...

    def get_label_uri(self, label_id: str, label_tag: str) -> str: ...

    def get_label_info(self, label_id: str, label_tag: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Task:
    """What a round of training starts from.

    Attributes:
        support: the scribbled case.
        scribbles: its strokes.
        classes: name -> value of the strokes.
        background: value of the background strokes.
        support_mask: the support's whole organs as corrected, or None.
        accepted: folder of corrected label maps of other cases, or None.
    """

    support: str
    scribbles: Path
    classes: dict[str, int]
    background: int
    support_mask: Path | None
    accepted: Path | None


def read_task(datastore: Datastore, folder: Path) -> Task:
    """Sort the submitted labels into strokes and corrected label maps, and keep a copy of each.

    A label with a segment of the background, see `is_background`, holds strokes: its study is the support. The copy
    stays when its label is later replaced by whole organs; any other label is one that the user corrected. Where no
    label holds strokes, those count that were drawn to see what grows from them (`strokes.remember`), on a study whose
    organs were submitted.

    Segments of corrected labels count that are called like a class of the strokes, see `of_classes`; others are told.

    What was drawn on an image that another has replaced since is left out.

    Args:
        datastore: MONAI Label's.
        folder: receives `support.json`, `scribbles.nii.gz`, `support_mask.nii.gz` and `accepted/ID.nii.gz`.

    Raises:
        BundleError: no strokes, strokes on two studies or on an image that was replaced, a label that does not say
            what its values mean, or a corrected one of which no segment is called like a class.
    """
    submitted = {case: _names(datastore, case) for case in _drawn_on_what_is_there(datastore)}
    scribbled = [case for case, names in submitted.items() if any(map(is_background, names))]
    if len(scribbled) > 1:
        raise BundleError(
            "strokes on more than one study",
            stage=STAGE,
            expected=f'one study with a segment called "{OUTSIDE}"; correct the whole organs of the others',
            found=", ".join(scribbled),
        )
    if scribbled:
        _keep_strokes(datastore, scribbled[0], submitted[scribbled[0]], folder)
    else:
        _keep_drawn(datastore, submitted, folder)
    about = folder / "support.json"
    if not about.exists():
        raise BundleError(
            "no study has strokes",
            stage=STAGE,
            expected=f'one study with strokes in every organ, and strokes outside all of them in a segment "{OUTSIDE}"',
            found=_without_strokes(submitted),
        )
    task = read_json(about)
    support, classes = task["support"], task["classes"]
    _refuse_other_image(datastore, support, task.get(DRAWN_ON))
    support_mask, accepted = folder / "support_mask.nii.gz", folder / "accepted"
    corrected = {case: names for case, names in submitted.items() if case not in scribbled}
    _forget(accepted, corrected)
    for case, names in corrected.items():
        target = support_mask if case == support else accepted / f"{case}.nii.gz"
        _renumber(case, _file(datastore, case), names, classes, target)
    if support not in corrected:
        support_mask.unlink(missing_ok=True)
    return Task(
        support=support,
        scribbles=folder / "scribbles.nii.gz",
        classes=classes,
        background=task["background"],
        support_mask=support_mask if support in corrected else None,
        accepted=accepted if set(corrected) - {support} else None,
    )


def _without_strokes(submitted: Mapping[str, Iterable[str]]) -> str:
    """In words what was submitted instead of strokes: study -> segments."""
    labels = [f"{case} ({', '.join(names)})" for case, names in submitted.items()]
    return "; ".join(labels) or "no submitted label"


def names_of_values(rows: Sequence[Mapping[str, Any]], values: Sequence[int]) -> dict[str, int]:
    """Segment -> value, of the rows {"name", "idx" or "id"} that a client sends and the values that its map holds."""
    numbered = [(row.get("name"), row.get("idx", row.get("id"))) for row in rows]
    names = {name: int(value) for name, value in numbered if name is not None and value is not None}
    if not set(values) <= set(names.values()) and max(values, default=0) <= len(names):
        # 3D Slicer counts segments that it leaves out, and numbers the map without them.
        names = {name: number for number, name in enumerate(names, start=1)}
    return names


def refuse_same_rows(
    rows: Sequence[Mapping[str, Any]], case: str | None, file: Path, names: Iterable[str] = ()
) -> None:
    """Refuse rows, see `names_of_values`, of which two are called like one of `names`; see `refuse_same_names`.

    Raises:
        BundleError: two are.
    """
    try:
        refuse_same_names([row["name"] for row in rows if row.get("name") is not None], names, file)
    except BundleError as error:
        error.within(STAGE, case)
        raise


def classes_option(classes: Mapping[str, int]) -> str:
    """As the command line takes them: JSON, because a segment's name may hold a comma."""
    return json.dumps(dict(classes), ensure_ascii=False)


def _file(datastore: Datastore, case: str) -> Path:
    """The label that the user submitted; a folder's name where there is none."""
    label = datastore.get_labels_by_image_id(case).get(SUBMITTED)
    return Path(datastore.get_label_uri(label, SUBMITTED) if label else ".")


def _drawn_on_what_is_there(datastore: Datastore) -> list[str]:
    """The studies with a submitted label that was drawn on their image as it is now; of others it is said."""
    cases = []
    for case in datastore.list_images():
        if not _file(datastore, case).is_file():
            continue
        if is_drawn_on(_drawn_on(datastore, case), datastore.get_image_uri(case)):
            cases.append(case)
        else:
            tell_replaced(case, "submitted label")
    return cases


def _drawn_on(datastore: Datastore, case: str) -> str | None:
    noted = datastore.get_label_info(case, SUBMITTED).get(DRAWN_ON)
    return None if noted is None else str(noted)


def _refuse_other_image(datastore: Datastore, support: str, noted: str | None) -> None:
    """Strokes are kept when their label goes, so their image may have gone, too.

    Raises:
        BundleError: they were drawn on another image than the study's.
    """
    if support not in datastore.list_images():
        problem, found = "the study that the strokes were drawn on is not there", "no such study"
    elif not is_drawn_on(noted, datastore.get_image_uri(support)):
        problem, found = "the strokes were drawn on another image of this study", "an image that was replaced since"
    else:
        return
    raise BundleError(
        problem,
        case=support,
        stage=STAGE,
        expected=f'strokes on an image as it is now, with a segment called "{OUTSIDE}"',
        found=found,
    )


def _names(datastore: Datastore, case: str) -> dict[str, int]:
    """Segment -> value, as the client sent them.

    Raises:
        BundleError: it sent none but those of the scribbles panel, or one name twice.
    """
    rows = datastore.get_label_info(case, SUBMITTED).get("label_info") or []
    refuse_same_rows(rows, case, _file(datastore, case))
    values = np.unique(read_labels(_file(datastore, case)).array)
    sent = names_of_values(rows, values[values > 0].tolist())
    # A client may name 0, too, which no segment has.
    names = {name: value for name, value in sent.items() if value and name not in (INSIDE_PANEL, OUTSIDE_PANEL)}
    if not names:
        raise BundleError(
            "the submitted label does not say what its values mean",
            case=case,
            stage=STAGE,
            file=_file(datastore, case),
            expected='"label_info": [{"name": ..., "idx": ...}] in its params, as 3D Slicer sends it',
            found=", ".join(sent) or "no segment",
        )
    return names


def _keep_strokes(datastore: Datastore, case: str, names: Mapping[str, int], folder: Path) -> None:
    source, about = _file(datastore, case), folder / "support.json"
    sha256, drawn_on = sha256_of_file(source), _drawn_on(datastore, case)
    before = read_json(about) if about.exists() else {}
    label = read_labels(source)
    outside = [value for name, value in names.items() if is_background(name)]
    drawn = np.where(np.isin(label.array, outside), outside[0], label.array)
    classes = {name: value for name, value in names.items() if value not in outside and (drawn == value).any()}
    task = {"support": case, "classes": classes, "background": outside[0], "sha256": sha256}
    if before == {**task, DRAWN_ON: before.get(DRAWN_ON)} and drawn_on in (None, before[DRAWN_ON]):
        return
    write_nifti(folder / "scribbles.nii.gz", drawn, label.affine)
    write_json(about, {**task, DRAWN_ON: drawn_on or hash_of_image(datastore.get_image_uri(case))})


def _keep_drawn(datastore: Datastore, submitted: Mapping[str, Mapping[str, int]], folder: Path) -> None:
    """Strokes drawn to see what grows from them, where whole organs were submitted instead of strokes.

    Whatever was drawn inside an organ is a stroke of that organ, whichever it was drawn for.
    """
    about = folder / "support.json"
    previous = read_json(about) if about.exists() else {"drawn": True, "support": None}
    if not previous.get("drawn"):
        return
    drawn = {case: strokes for case in submitted if (strokes := _drawn(datastore, case, folder)) is not None}
    if not drawn:
        return
    first = previous["support"]
    case = first if first in drawn else max(drawn, key=lambda case: len(submitted[case]))
    source = _file(datastore, case)
    sha256, drawn_on = sha256_of_file(source), hash_of_image(datastore.get_image_uri(case))
    organs = read_labels(source)
    classes = {name: value for name, value in submitted[case].items() if (organs.array == value).any()}
    task = {"support": case, "classes": classes, "background": BACKGROUND, "drawn": True, "sha256": sha256}
    if {DRAWN_ON: drawn_on, **previous} == {**task, DRAWN_ON: drawn_on}:
        return
    kept = np.where(drawn[case] == INSIDE_ORGANS, organs.array, 0)
    kept[(drawn[case] == OUTSIDE_ORGANS) & (organs.array == 0)] = BACKGROUND
    lacking = [name for name, value in {**classes, OUTSIDE: BACKGROUND}.items() if not (kept == value).any()]
    if lacking:
        raise BundleError(
            "whole organs were submitted, but strokes are missing",
            case=case,
            stage=STAGE,
            file=source,
            expected=f'strokes in every organ and outside all, drawn to see what grows, or a segment "{OUTSIDE}"',
            found="none in " + ", ".join(lacking),
        )
    write_nifti(folder / "scribbles.nii.gz", kept.astype(np.uint8), organs.affine)
    write_json(about, {**task, DRAWN_ON: drawn_on})


def _drawn(datastore: Datastore, case: str, folder: Path) -> np.ndarray | None:
    """What was drawn on a study; None for nothing, or if the study was replaced since."""
    looks = folder / LOOKS / case
    file = look_file(looks, datastore.get_image_uri(case))
    if not file.exists():
        if has_former_look(looks):
            tell_replaced(case, "look")
        return None
    strokes = read_labels(file)
    return strokes.array if same_grid(strokes, read_labels(_file(datastore, case))) else None


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two label maps have the same shape and affine."""
    return one.array.shape == other.array.shape and np.allclose(one.affine, other.affine, atol=1e-3)


def _forget(accepted: Path, corrected: Mapping[str, Any]) -> None:
    """Remove what the user took back."""
    for file in accepted.glob("*.nii.gz"):
        if case_id(file) not in corrected:
            file.unlink()


def _renumber(case: str, source: Path, names: Mapping[str, int], classes: Mapping[str, int], target: Path) -> None:
    """Copy a label map with the task's values; segments of other names become background, and are told.

    Raises:
        BundleError: no segment is called like a class.
    """
    label = read_labels(source)
    named = Volume(label.array, label.affine, names=names, segments=tuple(names))
    try:
        known = of_classes(named, classes, source, SUBMIT_AGAIN)
    except BundleError as error:
        error.within(STAGE, case)
        raise
    for remark in known.remarks:
        print(f"{case}: {remark}", flush=True)
    write_nifti(target, known.array.astype(np.uint8), known.affine)
