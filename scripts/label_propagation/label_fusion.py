"""The label fusion stage (mode `default`): cases with a good round trip are atlases beside the support."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.common.case_stage import CaseStage, CaseWork
from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file, write_nifti
from scripts.common.label_channels import LabelChannels
from scripts.common.made_of import is_whole, recorded_hash
from scripts.common.sharing.kept_tensors import drop_kept
from scripts.common.work_folder import PropagationFolder, WorkFolder
from scripts.data.cached_volume import CachedVolume, read_cached
from scripts.data.cohort import Cohort
from scripts.data.probability_maps import read_probabilities
from scripts.data.records import PointSet, PropagationRecord
from scripts.label_propagation.atlas import Atlas, read_atlas, read_shares
from scripts.label_propagation.atlas_selection import select_atlases
from scripts.label_propagation.case_files import write_case
from scripts.label_propagation.fuse_case import AtlasPrediction, FusionSettings, fuse_case
from scripts.label_propagation.prediction import background_alone, propagate_labels
from scripts.registration.body import Body
from scripts.registration.body_embedder import BodyEmbedder
from scripts.registration.embedding_matching import maps_between
from scripts.registration.robust_affine import TooFewMatchesError

logger = logging.getLogger(__name__)

STAGE = "label_fusion"


class LabelFusionStage(CaseStage):
    """Writes the fused class probabilities of every case, what each atlas alone predicts, and the points as they judge
    them; and the same by the selected atlases alone for the support, where the truth is known.

    Args:
        cohort: with a support.
        output_dir: the work directory, see `WorkFolder`: reads `first_round` and its labels, writes `propagation` and
            `on_support`.
        embedding_dir: holds the trained AnatomyNet.
        settings: see `FusionSettings`.
        accepted: case -> label map on its own grid that the user accepted; these cases are always atlases, unless
            their body is turned, and no atlas predicts them.
        device: where the network runs.

    Raises:
        BundleError: no first round, or a network that does not fit.
    """

    name = STAGE

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        embedding_dir: str | Path,
        settings: FusionSettings | None = None,
        accepted: Mapping[str, str | Path] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.scribbled = cohort.scribbled_support(STAGE)
        self.support = self.scribbled.case.id
        self.cohort, self.settings = cohort, settings or FusionSettings()
        self.accepted = {case: Path(file) for case, file in (accepted or {}).items() if case != self.support}
        self.work = WorkFolder(Path(output_dir))
        self.embed = BodyEmbedder(embedding_dir, cohort.spacing_mm, self.settings.windows, device)
        # Without points, which every case reads when its turn comes: a large cohort has many.
        self.first = {case: replace(self._first_record(case), points=PointSet.empty()) for case in sorted(cohort.cases)}
        self.classes_of = self._classes_of()
        self.selected = [case for case in self.classes_of if case != self.support]
        for file in map(self._labels, self.selected):
            if not file.is_file():
                raise BundleError("an atlas lacks its label map", stage=STAGE, file=file)

    def run(self, case_ids: Iterable[str] | None = None) -> list[str]:
        """Fuse the cases (default: all) that are not up to date, and the support by the others; returns the former."""
        made = super().run(case_ids)
        if self.selected:
            _OnSupportStage(self).run()
            drop_kept(self.work.embedded.path)
        else:
            for folder in (self.work.on_support.path, self.work.on_support_labels.path):
                shutil.rmtree(folder, ignore_errors=True)
        return made

    def cases(self) -> list[str]:
        """All of the cohort."""
        return list(self.first)

    def inputs(self, case: str) -> Any:
        """Settings, atlases, network, and what the first round gave the case."""
        first = self.work.first_round
        probabilities = recorded_hash(first.record(case), first.probabilities(case))
        record = self._first_record(case).to_json()
        inputs = [self._shared_inputs, self.cohort.cases[case].sha256, record, probabilities]
        if case in self.accepted and case not in self.selected:
            inputs.append(sha256_of_file(self.accepted[case]))
        return inputs

    def record(self, case: str) -> Path:
        """In the propagation folder."""
        return self.work.propagation.record(case)

    def surveyed(self) -> list[str]:
        """The selected atlases: each is embedded by one process, for all."""
        return self.selected

    def survey(self, case: str) -> None:
        """Keep an atlas's embedding."""
        self._embedded(case, read_cached(self.cohort, case))

    def prepare(self) -> None:
        """Say which cases are atlases."""
        logger.info("atlases beside the support: %s", ", ".join(self.selected) or "none")

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Fuse what all atlases predict; of the support and the accepted cases their own labels count."""
        if case == self.support and self.selected and rank_and_world()[1] == 1:
            _OnSupportStage(self).catch_up()  # by the same worker: it has the atlases, and others go on meanwhile
        volume = read_cached(self.cohort, case)
        if case in self.accepted:
            own = read_shares(self.accepted[case], volume, LabelChannels(self.cohort.classes))
            predictions = {case: AtlasPrediction(own, 1.0, dict.fromkeys(self.cohort.classes, 1.0))}
        else:
            predictions = {self.support: self._by_support(case)}
            if case != self.support:
                predictions |= self.by_selected(case, volume)
        points = self._first_record(case).points
        return self.fuse_and_write(self.work.propagation, case, predictions, points, volume.affine)

    def fuse_and_write(
        self,
        folder: PropagationFolder,
        case: str,
        predictions: Mapping[str, AtlasPrediction],
        points: PointSet,
        affine: np.ndarray,
    ) -> tuple[dict[str, Any], Sequence[Path]]:
        """Files and the record's content; the support's own strokes stay where they are."""
        home, settings = case == self.support, self.settings
        judged = PointSet.empty() if home else points
        fused = fuse_case(predictions, self.cohort.classes, judged, affine, settings)
        record = replace(
            self.first[case],
            rule={
                "name": "probabilities",
                "least_point_probability": settings.least_point_probability,
                "point_reach_mm": settings.point_reach_mm,
                "tissue_tolerance": self.first[case].rule.get("tissue_tolerance"),
            },
            points=points if home else fused.points,
            atlases=fused.weights,
            mean_round_trip_dice=fused.mean_round_trip_dice,
        )
        about = self.cohort.cases[case], self.scribbled.background
        content, files = write_case(folder, record, *about, fused.probabilities, affine)
        write_nifti(folder.atlases(case), fused.atlas_labels, affine)
        return content, [*files, folder.atlases(case)]

    def by_selected(self, case: str, volume: CachedVolume) -> dict[str, AtlasPrediction]:
        """What every selected atlas predicts of a case, its own labels left out."""
        others = {name: atlas for name, atlas in self._atlases.items() if name != case}
        if not others:
            return {}
        query = self._atlases[case].body if case in self._atlases else self.embed(volume)
        return {name: self._by_atlas(name, atlas, case, volume, query) for name, atlas in others.items()}

    def _by_atlas(self, name: str, atlas: Atlas, case: str, volume: CachedVolume, query: Body) -> AtlasPrediction:
        try:
            maps = maps_between(atlas.body, query, self.settings.matching)
        except TooFewMatchesError:  # it is then an atlas of no class
            return AtlasPrediction(background_alone(len(self.cohort.classes), volume.body.shape), 0.0, {})
        prediction = propagate_labels(atlas, volume, query, maps.backward, self.settings.transfer)
        return AtlasPrediction(prediction.probabilities, maps.similarity, self._round_trip_dice(name, case))

    def _by_support(self, case: str) -> AtlasPrediction:
        """As in the first round."""
        probabilities, _ = read_probabilities(self.work.first_round.probabilities(case))
        similarity = self.first[case].similarity
        if similarity is None:
            record = self.work.first_round.record(case)
            raise BundleError("the first round's record lacks the similarity", case=case, stage=STAGE, file=record)
        return AtlasPrediction(probabilities, similarity, self._round_trip_dice(self.support, case))

    def _round_trip_dice(self, atlas: str, case: str) -> dict[str, float]:
        """Class -> that of the case, for the support; that of the atlas, for a selected one; 1, for an accepted one."""
        if atlas in self.accepted:
            return dict.fromkeys(self.classes_of[atlas], 1.0)
        dice = self.first[case if atlas == self.support else atlas].round_trip_dice
        return {name: dice[name] for name in self.classes_of[atlas]}

    def _classes_of(self) -> dict[str, tuple[str, ...]]:
        """Atlas -> its classes: all of the support and the accepted cases, the good ones of the selected atlases.

        A body that is turned against the support's is none, however good its labels are or seem to be.
        """
        accepted = [case for case in self.accepted if self.first[case].turned is None]
        always = dict.fromkeys([self.support, *accepted], tuple(self.cohort.classes))
        most, least = self.settings.most_atlases - len(accepted), self.settings.least_round_trip_dice
        dice = {case: record.round_trip_dice for case, record in self.first.items() if record.turned is None}
        return always | select_atlases(dice, always, max(most, 0), least)

    def _first_record(self, case: str) -> PropagationRecord:
        record, probabilities = self.work.first_round.record(case), self.work.first_round.probabilities(case)
        for file in (record, probabilities):
            if not file.is_file():
                raise BundleError("the first round lacks a case", case=case, stage=STAGE, file=file)
        return PropagationRecord.read(record)

    def _labels(self, case: str) -> Path:
        return self.accepted.get(case, self.work.first_round_labels.label(case))

    @cached_property
    def _atlases(self) -> dict[str, Atlas]:
        """Read once."""
        channels = LabelChannels(self.cohort.classes)
        volumes = {case: read_cached(self.cohort, case) for case in self.selected}
        return {
            case: read_atlas(self._labels(case), volume, self._embedded(case, volume), channels)
            for case, volume in volumes.items()
        }

    def _embedded(self, case: str, volume: CachedVolume) -> Body:
        """Of an atlas; embedded once."""
        return self.embed.shared(volume, self.cohort.cases[case].sha256, self.work.embedded.body(case))

    @cached_property
    def _shared_inputs(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "atlases": {case: self._atlas_inputs(case) for case in self.selected},
            "background": self.scribbled.background,
            "network": self.embed.mark,
        }

    def _atlas_inputs(self, case: str) -> list[Any]:
        """Labels, classes, and the image where the labels do not depend on it."""
        labels = recorded_hash(self.work.first_round_labels.record(case), self._labels(case))
        image = [self.cohort.cases[case].sha256] if case in self.accepted else []
        return [labels, self.classes_of[case], *image]


class _OnSupportStage(CaseStage):
    """The support by the selected atlases alone; without points, as its own strokes must not help.

    Args:
        fusion: whose atlases are used.
    """

    name = f"{STAGE} on the support"

    def __init__(self, fusion: LabelFusionStage) -> None:
        self.fusion, self.folder, self.version = fusion, fusion.work.on_support, fusion.version

    def catch_up(self) -> None:
        """As `run`, as a part of another stage's case: it is nobody's progress."""
        support = self.fusion.support
        inputs = self._fingerprint(support)
        if not is_whole(self.record(support), inputs):
            self.do(CaseWork(support, inputs))

    def cases(self) -> list[str]:
        return [self.fusion.support]

    def inputs(self, case: str) -> Any:
        return self.fusion.inputs(case)

    def record(self, case: str) -> Path:
        return self.folder.record(case)

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        volume = read_cached(self.fusion.cohort, case)
        predictions = self.fusion.by_selected(case, volume)
        return self.fusion.fuse_and_write(self.folder, case, predictions, PointSet.empty(), volume.affine)
