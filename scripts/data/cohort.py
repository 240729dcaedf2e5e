"""The cohort: which volumes, which support, which classes, and where each volume's cache lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.common.names import CASE_NAME, is_case_name
from scripts.common.schema import (
    BOOLEAN,
    CLASSES,
    LINE,
    MODALITY,
    NULL,
    TEXT,
    Kind,
    check_table,
    either,
    list_of,
    number,
    read_checked,
    table_of,
    whole,
)
from scripts.common.work_folder import WorkFolder
from scripts.data.case import Case, as_spacing
from scripts.data.gate.modality import CT

STAGE = "cohort"
FIELDS = {
    "spacing_mm": list_of(number(20.0), 3, 3),
    "cases": Kind("cases by name", lambda value: isinstance(value, dict) and all(map(is_case_name, value))),
    "rejected": table_of(table_of(TEXT)),
    "support": either(NULL, Kind(CASE_NAME, is_case_name)),
    "scribbles": either(NULL, LINE),
    "classes": either(Kind("none", lambda value: value == {}), CLASSES),
    "background": either(NULL, whole(0, 255)),
    "assumptions": list_of(TEXT, 0, 1_000_000),
}
IMAGES = {"modality": MODALITY, "bias_correction": BOOLEAN}  # before 0.4.0 all was CT
VERDICTS = {"warnings": table_of(list_of(TEXT, 0, 1_000_000)), "unused": table_of(TEXT)}  # 0.3.0 kept none


@dataclass(frozen=True)
class ScribbledSupport:
    """The support with its strokes.

    Attributes:
        case: the scribbled volume.
        scribbles: NIfTI on its own grid.
        background: value of the background strokes.
    """

    case: Case
    scribbles: Path
    background: int


@dataclass(frozen=True)
class Cohort:
    """All cases with their cache, and what the support's scribbles mean.

    Args:
        output_dir: the work directory.
        spacing_mm: spacing of the cached volumes, X, Y, Z.
        cases: good cases by identifier, sorted.
        rejected: identifier -> {"file", "reason", "remedy"} of the volumes left out.
        support: identifier of the scribbled case.
        scribbles: NIfTI on the support's own grid.
        classes: name -> value in the scribbles and in all label maps.
        background: value of the background strokes.
        assumptions: sentences about what nobody said.
        warnings: identifier -> sentences, of good cases that the user should look at.
        unused: file -> reason, of what else lies in the images folder.
        modality: "ct" or "mr".
        bias_correction: whether the bias field of MR is divided out.
    """

    output_dir: Path
    spacing_mm: tuple[float, float, float]
    cases: dict[str, Case]
    rejected: dict[str, dict[str, str]]
    support: str | None
    scribbles: Path | None
    classes: dict[str, int]
    background: int | None
    assumptions: tuple[str, ...]
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    modality: str = CT
    bias_correction: bool = True

    def cached_image(self, case_id: str) -> Path:
        """float32 in [0, 1] (`normalise_hu`), RAS axes, at `spacing_mm`."""
        return WorkFolder(self.output_dir).cache.image(case_id)

    def cached_body(self, case_id: str) -> Path:
        """uint8 body mask on the cached image's grid."""
        return WorkFolder(self.output_dir).cache.body(case_id)

    def scribbled_support(self, stage: str) -> ScribbledSupport:
        """The support, for a stage that cannot do without its strokes.

        Raises:
            BundleError: the cohort has no support, or no scribbles on it.
        """
        if self.support is None or self.scribbles is None or self.background is None:
            raise BundleError(
                "this stage needs a support with scribbles",
                stage=stage,
                file=WorkFolder(self.output_dir).cohort,
                expected="a support, its scribbles and the value of background strokes",
                found=f"support {self.support}, scribbles {self.scribbles}, background {self.background}",
            )
        return ScribbledSupport(self.cases[self.support], self.scribbles, self.background)

    def items(self, case_ids: Iterable[str] | None = None) -> list[dict[str, str]]:
        """MONAI data list: {"case", "image", "body", "image_sha256"} for each case, all cases by default."""
        ids = list(self.cases) if case_ids is None else list(case_ids)
        files = {i: {"image": str(self.cached_image(i)), "body": str(self.cached_body(i))} for i in ids}
        return [{"case": i, **files[i], "image_sha256": self.cases[i].sha256} for i in ids]

    def split(self, validation_count: int) -> tuple[list[str], list[str]]:
        """(training, validation) identifiers; validation is spread evenly over the sorted cases, never the support.

        Raises:
            BundleError: no case would be left for training.
        """
        ids = sorted(self.cases)
        candidates = [i for i in ids if i != self.support]
        most = min(len(candidates), len(ids) - 1)
        if not 0 <= validation_count <= most:
            raise BundleError(
                "the number of validation cases does not fit",
                stage=STAGE,
                expected=f"0 to {most}",
                found=validation_count,
            )
        step = len(candidates) / max(validation_count, 1)
        validation = [candidates[int((n + 0.5) * step)] for n in range(validation_count)]
        return [i for i in ids if i not in validation], validation


def load_cohort(output_dir: str | Path) -> Cohort:
    """Read the work directory's `cohort.json`, as `prepare_cohort` left it.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    path = WorkFolder(Path(output_dir).absolute()).cohort
    problem = "the cohort file is damaged; delete it"
    defaults: dict[str, Any] = {"modality": CT, "bias_correction": True} | {key: {} for key in VERDICTS}
    content = defaults | read_checked(path, FIELDS, problem, STAGE)
    check_table(content, VERDICTS | IMAGES, path, problem, STAGE)
    try:
        scribbles = content["scribbles"]
        return Cohort(
            output_dir=path.parent,
            spacing_mm=as_spacing(content["spacing_mm"]),
            cases={name: Case.from_json(case) for name, case in content["cases"].items()},
            rejected=content["rejected"],
            support=content["support"],
            scribbles=None if scribbles is None else Path(scribbles),
            classes=content["classes"],
            background=content["background"],
            assumptions=tuple(content["assumptions"]),
            warnings={name: tuple(sentences) for name, sentences in content["warnings"].items()},
            unused=content["unused"],
            modality=content["modality"],
            bias_correction=content["bias_correction"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(problem, stage=STAGE, file=path, found=repr(error)) from error


def write_cohort(cohort: Cohort) -> None:
    """Write `cohort.json` unless it says the same already."""
    content = {
        "output_dir": str(cohort.output_dir),
        "spacing_mm": list(cohort.spacing_mm),
        "cases": {name: case.to_json() for name, case in cohort.cases.items()},
        "rejected": cohort.rejected,
        "support": cohort.support,
        "scribbles": None if cohort.scribbles is None else str(cohort.scribbles),
        "classes": cohort.classes,
        "background": cohort.background,
        "assumptions": list(cohort.assumptions),
        "warnings": cohort.warnings,
        "unused": cohort.unused,
        "modality": cohort.modality,
        "bias_correction": cohort.bias_correction,
    }
    try:
        before = load_cohort(cohort.output_dir)
        unchanged = before == cohort and list(before.classes) == list(cohort.classes)  # their order counts, too
    except BundleError:
        unchanged = False
    if not unchanged:
        write_json(WorkFolder(cohort.output_dir).cohort, content)
