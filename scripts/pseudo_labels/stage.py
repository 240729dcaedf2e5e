"""The stage that makes pseudo labels: reads each case, labels it, writes `ID.nii.gz` and `ID.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.common.affines import voxel_ml
from scripts.common.case_stage import CaseStage
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti, sha256_of_file, write_nifti
from scripts.common.label_channels import UNDECIDED, LabelChannels
from scripts.common.work_folder import LabelFolder, PropagationFolder
from scripts.data.cached_volume import read_cached
from scripts.data.case import Case
from scripts.data.cohort import Cohort
from scripts.data.intensity import normalise_hu
from scripts.data.probability_maps import ClassProbabilities, read_probabilities
from scripts.data.reading.alignment import on_grid_of
from scripts.data.records import PointSet, PropagationRecord, PseudoLabelRecord
from scripts.data.resampling import canonical
from scripts.data.volume_cache import at_spacing
from scripts.data.volume_io import Volume, read_labels, read_volume
from scripts.networks.prnet_weights import TrainedPRNet, load_prnet, prnet_mark
from scripts.pseudo_labels.kinds.stroke_kind import Kind
from scripts.pseudo_labels.label_case import PseudoLabel, WorkingVolume, label_case
from scripts.pseudo_labels.settings import STAGE, GeodesicSettings


class PseudoLabelStage(CaseStage):
    """Makes a label map on each case's own grid from its propagated points and class probabilities.

    Args:
        cohort: cases and classes.
        propagation_dir: holds `ID.json` and, unless settings take points alone, `ID_probabilities.nii.gz`.
        labels_dir: where label maps and their records go.
        settings: see `GeodesicSettings`.
        fine_dir: folder of the fine PRNet; needed for refinement only.
        device: where distances and features are computed.
        given: case -> label map on its own grid that the user accepted; it is taken as it is.
        support_mask_record: says of which kind the support's organs are and in how many parts; None, or a missing one,
            says nothing.

    Raises:
        BundleError: a given label map is missing; or refinement is on and the network is missing, or the grid is not
            the one that it works on.
    """

    name = "pseudo labels"

    def __init__(
        self,
        cohort: Cohort,
        propagation_dir: str | Path,
        labels_dir: str | Path,
        settings: GeodesicSettings | None = None,
        fine_dir: str | Path | None = None,
        device: torch.device | str = "cpu",
        given: Mapping[str, str | Path] | None = None,
        support_mask_record: str | Path | None = None,
    ) -> None:
        self.cohort = cohort
        self.support_mask_record = None if support_mask_record is None else Path(support_mask_record)
        self.propagation = PropagationFolder(Path(propagation_dir))
        self.labels = LabelFolder(Path(labels_dir))
        self.settings = settings or GeodesicSettings()
        self.device = torch.device(device)
        self.given = {case: Path(file) for case, file in (given or {}).items()}
        for case, file in self.given.items():
            if not file.is_file():
                raise BundleError("the given label map is missing", case=case, stage=STAGE, file=file)
        self.fine_dir = self._checked_fine_dir(fine_dir) if self.settings.refinement.refine else None

    def cases(self) -> list[str]:
        """All that have propagated points, sorted.

        Raises:
            BundleError: none has.
        """
        cases = sorted(name for name in self.cohort.cases if self.propagation.record(name).exists())
        if not cases:
            file = self.propagation.path
            raise BundleError(
                "no case has propagated points",
                stage=STAGE,
                file=file,
                expected="what `oneshot`, or `propagate`, leaves",
            )
        return cases

    def inputs(self, case: str) -> Any:
        """Of a given label map, that; else all that it grows from."""
        same = {"image": self.cohort.cases[case].sha256, "classes": list(self.cohort.classes.items())}
        if case in self.given:
            return {**same, "given": sha256_of_file(self.given[case])}
        return {
            **same,
            "settings": asdict(self.settings),
            "points": self._points(case).to_json(),
            "probabilities": self._probabilities_hash(case),
            "working_spacing_mm": self.cohort.spacing_mm,
            "network": self._network_mark,
            "with_edges": self._with_edges,
            **({"parts": self._parts} if self._parts else {}),
            **({} if self.settings.support_limits is None else {"support": self._support_volume_ml(case)}),
        }

    def record(self, case: str) -> Path:
        """`labels_dir/ID.json`."""
        return self.labels.record(case)

    def prepare(self) -> None:
        """Load the fine PRNet, if borders are to be redrawn."""
        _ = self._network

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Label the case, or take over the given label map; a class that that lacks is absent, not unlocated."""
        about = self.labels, self.cohort.cases[case], self.cohort.classes
        if case in self.given:
            file = Path(self.given[case])
            given = read_labels(file, self.cohort.classes)
            label = on_grid_of(given, self.cohort.cases[case], file, "given label map's voxels", "the case's")
            channels = LabelChannels(self.cohort.classes).to_channels(label.array)
            return write_label(*about, PseudoLabel(channels), None)
        return write_label(*about, self._labelled(case), self.settings)

    def _labelled(self, name: str) -> PseudoLabel:
        case = self.cohort.cases[name]
        probabilities = None
        if self.settings.from_probabilities:
            probabilities = ClassProbabilities(*read_probabilities(self.propagation.probabilities(name)))
        return label_case(
            geodesic_image(self.cohort, case, self.settings),
            self._points(name),
            case.shape,
            open_nifti(case.image).affine,
            self.cohort.classes,
            self.settings,
            working_volume(self.cohort, case, self.settings),
            probabilities,
            self._network,
            self.device,
            self._support_volume_ml(name),
            self._with_edges,
            self._parts,
        )

    @cached_property
    def _of_support(self) -> PseudoLabelRecord:
        """What is known of the support's organs."""
        if self.support_mask_record is None or not self.support_mask_record.exists():
            return PseudoLabelRecord("", {})
        return PseudoLabelRecord.read(self.support_mask_record)

    @property
    def _with_edges(self) -> list[str]:
        """Classes that hold air and its wall."""
        return sorted(name for name, kind in self._of_support.kinds.items() if kind == Kind.WALLED.value)

    @property
    def _parts(self) -> dict[str, int]:
        """Class -> how many parts it is in, of those in more than one."""
        return dict(self._of_support.parts)

    def _support_volume_ml(self, name: str) -> Mapping[str, float] | None:
        """Class -> volume in the support; None where it limits nothing."""
        if self.settings.support_limits is None or self.cohort.support in (None, name):
            return None
        return self._volumes_of_support_ml

    @cached_property
    def _volumes_of_support_ml(self) -> dict[str, float]:
        case = self.cohort.cases[str(self.cohort.support)]
        return volumes_ml(self._labelled(case.id).channels, self.cohort.classes, open_nifti(case.image).affine)

    def _points(self, name: str) -> PointSet:
        """Raises BundleError if a kept point is of another class than the cohort's."""
        file = self.propagation.record(name)
        points = PropagationRecord.read(file).points
        classes = self.cohort.classes
        unknown = sorted(set(points.labels[points.kept].tolist()) - {0, *classes.values()})
        if unknown:
            problem = "the propagated points are of other classes"
            raise BundleError(problem, case=name, stage=STAGE, file=file, expected=classes, found=unknown)
        return points

    def _probabilities_hash(self, name: str) -> str | None:
        if not self.settings.from_probabilities:
            return None
        file = self.propagation.probabilities(name)
        if not file.is_file():
            problem, expected = "the case has no class probabilities", "them, or seed_probability null"
            raise BundleError(problem, case=name, stage=STAGE, file=file, expected=expected)
        return sha256_of_file(file)

    @cached_property
    def _network(self) -> TrainedPRNet | None:
        """Needed before any case is made where the support's volumes are among the inputs."""
        if self.fine_dir is None:
            return None
        return load_prnet(self.fine_dir, spacing_mm=self.cohort.spacing_mm, device=self.device)

    @cached_property
    def _network_mark(self) -> list[Any] | None:
        return None if self.fine_dir is None else prnet_mark(self.fine_dir)

    def _checked_fine_dir(self, fine_dir: str | Path | None) -> Path:
        if fine_dir is None or not (Path(fine_dir) / "model.pt").is_file():
            problem, expected = "refinement needs the fine PRNet", "its folder as fine_dir"
            raise BundleError(problem, stage=STAGE, file=fine_dir, expected=expected)
        if self.settings.geodesic_spacing_mm != self.cohort.spacing_mm:
            raise BundleError(
                "refinement works on the cached volumes' grid",
                stage=STAGE,
                expected=f"geodesic spacing {list(self.cohort.spacing_mm)} mm",
                found=self.settings.geodesic_spacing_mm,
            )
        return Path(fine_dir)


def geodesic_image(cohort: Cohort, case: Case, settings: GeodesicSettings, own: Volume | None = None) -> Volume:
    """(X, Y, Z) in [0, 1], canonical, on the grid that distances are computed on.

    Args:
        cohort: whose case it is.
        case: the case.
        settings: for the grid.
        own: the case in HU on its own grid; None reads it where it is needed.
    """
    if settings.geodesic_spacing_mm == cohort.spacing_mm:
        cached = read_cached(cohort, case.id)
        return Volume(cached.image[0].numpy(), cached.affine)
    return on_geodesic_grid(own or read_volume(case.image), settings.geodesic_spacing_mm)


def on_geodesic_grid(volume: Volume, spacing_mm: tuple[float, float, float] | None) -> Volume:
    """HU on a case's own grid -> [0, 1], canonical, at `spacing_mm` if that is coarser."""
    volume = canonical(volume)
    if spacing_mm is not None and np.prod(spacing_mm) > np.prod(volume.spacing_mm):
        volume = at_spacing(volume, spacing_mm)
    return Volume(normalise_hu(volume.array), volume.affine)


def working_volume(cohort: Cohort, case: Case, settings: GeodesicSettings) -> WorkingVolume | None:
    """The case at the working spacing; None where settings do not need it."""
    if not (settings.body_only or settings.sharpening or settings.refinement.refine):
        return None
    cached = read_cached(cohort, case.id)
    return WorkingVolume(cached.image[0].numpy(), cached.body.numpy(), cached.affine, cohort.spacing_mm)


def write_label(
    folder: LabelFolder,
    case: Case,
    classes: Mapping[str, int],
    pseudo: PseudoLabel,
    settings: GeodesicSettings | None,
) -> tuple[dict[str, Any], Sequence[Path]]:
    """Write a label map on the case's own grid; returns what its record says, and the file.

    Args:
        folder: where it goes.
        case: whose it is.
        classes: name -> label value.
        pseudo: the label map.
        settings: that it grew with; None where the user gave it.
    """
    original, file = open_nifti(case.image), folder.label(case.id)
    write_nifti(file, LabelChannels(classes).to_values(pseudo.channels), original.affine, like=original)
    record = PseudoLabelRecord(
        case=case.id,
        classes=classes,
        not_located=pseudo.not_located,
        given=settings is None,
        volume_ml=volumes_ml(pseudo.channels, classes, original.affine),
        opened_share=pseudo.opened_share,
        border_confidence=pseudo.border_confidence,
        settings={} if settings is None else asdict(settings),
        image_sha256=case.sha256,
    )
    return record.to_json(), [file]


def volumes_ml(channels: np.ndarray, classes: Mapping[str, int], affine: np.ndarray) -> dict[str, float]:
    """Class -> volume of its voxels, of a label map (X, Y, Z) of channels."""
    slabs = (np.bincount(slab.ravel(), minlength=UNDECIDED + 1) for slab in channels)  # whole, it would be copied
    counts = reduce(np.add, slabs)[1 : len(classes) + 1]
    of_voxel_ml = voxel_ml(affine)
    return {name: round(float(count * of_voxel_ml), 3) for name, count in zip(classes, counts, strict=True)}
