"""Every path of a work directory, once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CacheFolder:
    """Volumes at the working spacing, RAS axes; a folder a case, so that no two cases' files can meet."""

    path: Path

    def image(self, case: str) -> Path:
        """(X, Y, Z) float32 in [0, 1] (see `normalise_hu`)."""
        return self.path / case / "image.nii"

    def body(self, case: str) -> Path:
        """(X, Y, Z) uint8 body mask on the image's grid."""
        return self.path / case / "body.nii"

    def record(self, case: str) -> Path:
        """What the source was and when; written last."""
        return self.path / case / "record.json"


@dataclass(frozen=True)
class PropagationFolder:
    """What was sent to each case: its points and, in mode `default`, class probabilities."""

    path: Path

    def record(self, case: str) -> Path:
        """Every point: where, how alike, kept or why not. Written last: with it the case counts as done."""
        return self.path / f"{case}.json"

    def scribbles(self, case: str) -> Path:
        """The kept points drawn on the case's own grid."""
        return self.path / f"{case}_scribbles.nii.gz"

    def probabilities(self, case: str) -> Path:
        """Class probabilities on the working grid, (X, Y, Z, 1 + K) bytes, background first (mode `default`)."""
        return self.path / f"{case}_probabilities.nii.gz"

    def atlases(self, case: str) -> Path:
        """What each atlas alone predicts: label values on the working grid, (X, Y, Z, atlases) (mode `default`)."""
        return self.path / f"{case}_atlases.nii.gz"


@dataclass(frozen=True)
class DicomFolder:
    """Label maps as DICOM objects of one kind, each with a record of what made it: `ID.dcm`, `ID.json`."""

    path: Path

    def label(self, case: str) -> Path:
        """The object."""
        return self.path / f"{case}.dcm"

    def record(self, case: str) -> Path:
        """Written last: with it the case counts as done."""
        return self.path / f"{case}.json"


@dataclass(frozen=True)
class LabelFolder:
    """Label maps on each case's own grid, each with a record of what made it: `ID.nii.gz`, `ID.json`."""

    path: Path

    @property
    def own(self) -> PropagationFolder:
        """A network's class probabilities on its own grid, beside its label maps (mode `default`)."""
        return PropagationFolder(self.path / "probabilities")

    @property
    def joined(self) -> PropagationFolder:
        """Those and the atlases' joined, weighed by worth (mode `default`)."""
        return PropagationFolder(self.path / "propagation")

    @property
    def joined_labels(self) -> LabelFolder:
        """Label maps from those; `self_check/` says how far to trust them (mode `default`)."""
        return LabelFolder(self.path / "joined")

    @property
    def segmentations(self) -> DicomFolder:
        """The label maps of DICOM series as DICOM segmentations (SEG)."""
        return DicomFolder(self.path / "dicom")

    @property
    def structure_sets(self) -> DicomFolder:
        """The label maps of DICOM series as RT structure sets (RTSTRUCT)."""
        return DicomFolder(self.path / "rtstruct")

    def label(self, case: str) -> Path:
        """(X, Y, Z) uint8 label values on the case's own grid."""
        return self.path / f"{case}.nii.gz"

    def record(self, case: str) -> Path:
        """Written last: with it the case counts as done."""
        return self.path / f"{case}.json"


@dataclass(frozen=True)
class EmbeddedFolder:
    """Embeddings that many cases need, while a stage runs: its processes share them; a record beside each."""

    path: Path

    def body(self, case: str) -> Path:
        """The support's or an atlas's, tensors."""
        return self.path / "bodies" / f"{case}.pt"

    def orientation(self, number: int) -> Path:
        """Landmarks of the support, turned in the way of this number, tensors."""
        return self.path / "orientations" / f"{number}.pt"


@dataclass(frozen=True)
class SuggestionFolder:
    """Which volume is best scribbled: what that was computed from, and the page."""

    path: Path

    def landmarks(self, case: str) -> Path:
        """Places in its body and their embeddings, tensors."""
        return self.path / "landmarks" / f"{case}.pt"

    def landmarks_record(self, case: str) -> Path:
        """Written last: with it the landmarks count as done."""
        return self.path / "landmarks" / f"{case}.json"

    def pairs_record(self, case: str) -> Path:
        """How a case and those it is compared with fit together."""
        return self.path / "pairs" / f"{case}.json"

    @property
    def page(self) -> Path:
        """The proposed volumes in pictures."""
        return self.path / "index.html"


@dataclass(frozen=True)
class WorkFolder:
    """The output folder of a run; its path is absolute."""

    path: Path

    def names(self) -> list[str]:
        """Of the files and folders in it that a run fills."""
        paths = [getattr(self, name) for name, member in vars(WorkFolder).items() if isinstance(member, property)]
        return sorted({getattr(path, "path", path).relative_to(self.path).parts[0] for path in paths})

    @property
    def cohort(self) -> Path:
        """Cases, support, classes."""
        return self.path / "cohort.json"

    @property
    def scribble_remarks(self) -> Path:
        """What was remarked on the support's strokes."""
        return self.path / "scribble_remarks.json"

    @property
    def settings(self) -> Path:
        """What the user asked for."""
        return self.path / "run.json"

    @property
    def state(self) -> Path:
        """Which stage ran when, and for how long."""
        return self.path / "state.json"

    @property
    def progress(self) -> Path:
        """How far the run is; of interest while it runs."""
        return self.path / "progress.json"

    @property
    def cache(self) -> CacheFolder:
        """Volumes at the working spacing."""
        return CacheFolder(self.path / "cache")

    @property
    def images(self) -> Path:
        """NIfTI conversions of volumes in other formats, `ID.nii.gz`."""
        return self.path / "images"

    @property
    def scribbles(self) -> Path:
        """NIfTI conversion of the support's strokes in another format, `SUPPORT.nii.gz`."""
        return self.path / "scribbles"

    @property
    def given(self) -> LabelFolder:
        """NIfTI conversions of label maps that were given as DICOM: the support mask and accepted ones."""
        return LabelFolder(self.path / "given")

    @property
    def prnet(self) -> Path:
        """`coarse/` and `fine/` (mode `paper`)."""
        return self.path / "prnet"

    @property
    def suggestion(self) -> SuggestionFolder:
        """What `suggest` leaves."""
        return SuggestionFolder(self.path / "suggestion")

    @property
    def suggestion_record(self) -> Path:
        """Every case, the best to scribble first."""
        return self.path / "suggest.json"

    @property
    def embedding(self) -> Path:
        """The embedding network (mode `default`)."""
        return self.path / "embedding"

    @property
    def embedded(self) -> EmbeddedFolder:
        """Of the support and of atlases; gone when their stage is done (mode `default`)."""
        return EmbeddedFolder(self.path / "embedded")

    @property
    def support_mask(self) -> LabelFolder:
        """The support's whole organs as they grew from its strokes (mode `default`)."""
        return LabelFolder(self.path / "support_mask")

    @property
    def support_kinds(self) -> Path:
        """What the strokes say of a support mask that was given, `SUPPORT.json` (mode `default`)."""
        return self.path / "support_kinds"

    @property
    def first_round(self) -> PropagationFolder:
        """By the support alone (mode `default`)."""
        return PropagationFolder(self.path / "first_round" / "propagation")

    @property
    def first_round_labels(self) -> LabelFolder:
        """Label maps from those: what the selected atlases are labelled with."""
        return LabelFolder(self.path / "first_round" / "pseudo_labels")

    @property
    def propagation(self) -> PropagationFolder:
        """By all atlases together; in mode `paper` point by point."""
        return PropagationFolder(self.path / "propagation")

    @property
    def pseudo_labels(self) -> LabelFolder:
        """Label maps from `propagation`."""
        return LabelFolder(self.path / "pseudo_labels")

    @property
    def training_labels(self) -> LabelFolder:
        """The same, but rather too small: what the network learns from (mode `default`)."""
        return LabelFolder(self.path / "training_labels")

    @property
    def on_support(self) -> PropagationFolder:
        """The support by the selected atlases alone: the one case with strokes to check them by (mode `default`)."""
        return PropagationFolder(self.path / "on_support" / "propagation")

    @property
    def on_support_labels(self) -> LabelFolder:
        """The label map from that."""
        return LabelFolder(self.path / "on_support" / "pseudo_labels")

    @property
    def segmentation(self) -> Path:
        """The segmentation network."""
        return self.path / "segmentation"

    @property
    def network(self) -> LabelFolder:
        """Label maps by the segmentation network alone (mode `default`)."""
        return LabelFolder(self.path / "network")

    @property
    def predictions(self) -> LabelFolder:
        """The final label maps."""
        return LabelFolder(self.path / "predictions")

    @property
    def final_labels(self) -> Path:
        """Of which pseudo labels and support mask `predictions` are."""
        return self.path / "final_labels.json"

    @property
    def accepted(self) -> LabelFolder:
        """Label maps of cases that the user accepted by their names, as they were then (mode `default`)."""
        return LabelFolder(self.path / "accepted")

    @property
    def self_check(self) -> Path:
        """How far to trust `predictions`: `ID.json` (mode `default`)."""
        return self.path / "self_check"

    @property
    def self_check_pseudo_labels(self) -> Path:
        """How far to trust `pseudo_labels`: what training leaves out (mode `default`)."""
        return self.path / "self_check_pseudo_labels"

    @property
    def results_json(self) -> Path:
        """One row a case and class, for programs."""
        return self.path / "results.json"

    @property
    def results_csv(self) -> Path:
        """The same for spreadsheets."""
        return self.path / "results.csv"

    @property
    def report(self) -> Path:
        """`index.html`, and what it loads."""
        return self.path / "report"
