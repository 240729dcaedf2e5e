"""A cohort on disk with labels for scoring: `images/`, `labels/`, `scribbles/` and `dataset.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.common.files import read_json


@dataclass(frozen=True)
class Dataset:
    """What `dataset.json` says.

    Attributes:
        folder: holds `images/`, `labels/` and `scribbles/`.
        classes: name -> label value of the organ set to be segmented (`paper_classes`).
        all_classes: name -> label value of everything that is labelled.
        background: value of the background strokes.
        support: the scribbled case.
        alternative_supports: others with scribbles, for measuring how much the choice matters.
        unlabelled: cases to train on without labels, the support among them.
        test: cases for the final score.
        phantom: the volumes are synthetic.
    """

    folder: Path
    classes: dict[str, int]
    all_classes: dict[str, int]
    background: int
    support: str
    alternative_supports: tuple[str, ...]
    unlabelled: tuple[str, ...]
    test: tuple[str, ...]
    phantom: bool

    def image(self, case: str) -> Path:
        """The case's volume."""
        return self.folder / "images" / f"{case}.nii.gz"

    def label(self, case: str) -> Path:
        """The case's label map, for scoring only."""
        return self.labels / f"{case}.nii.gz"

    def scribbles(self, variant: str = "a", support: str | None = None) -> Path:
        """Scribbles of the support, or of another one."""
        return self.folder / "scribbles" / f"{support or self.support}_{variant}.nii.gz"

    def variants(self, support: str) -> tuple[str, ...]:
        """Letters of a support's scribbles."""
        files = sorted((self.folder / "scribbles").glob(f"{support}_?.nii.gz"))
        return tuple(file.name.removesuffix(".nii.gz")[-1] for file in files)

    @property
    def labels(self) -> Path:
        """Folder of label maps, for scoring only."""
        return self.folder / "labels"


def read_dataset(folder: str | Path) -> Dataset:
    """Read `dataset.json`.

    Raises:
        BundleError: the file is missing or lacks something.
    """
    folder = Path(folder).absolute()
    content = read_json(folder / "dataset.json")
    try:
        values = {name: int(value) for value, name in content["labels"].items()}
        return Dataset(
            folder=folder,
            classes={name: values[name] for name in content["paper_classes"]},
            all_classes=values,
            background=content["background_scribble"],
            support=content["support"],
            alternative_supports=tuple(content.get("alternative_supports", ())),
            unlabelled=tuple(content["unlabelled"]),
            test=tuple(content["test"]),
            phantom=bool(content.get("phantom", False)),
        )
    except KeyError as error:
        raise BundleError("dataset.json lacks something", file=folder / "dataset.json", expected=error) from error
