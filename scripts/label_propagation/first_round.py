"""The first round's stage (mode `default`): the support's scribbles, and its mask, sent to every case."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from scripts.common.case_stage import CaseStage
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file
from scripts.common.label_channels import LabelChannels
from scripts.common.sharing.kept_tensors import drop_kept, kept_tensors
from scripts.common.work_folder import PropagationFolder, WorkFolder
from scripts.data.cached_volume import CachedVolume, read_cached
from scripts.data.cohort import Cohort
from scripts.data.records import PropagationRecord
from scripts.data.scribbles import read_scribble_points
from scripts.label_propagation.atlas import read_atlas
from scripts.label_propagation.case_files import write_case
from scripts.label_propagation.propagate_case import (
    FirstRoundSettings,
    PropagatedSupport,
    propagate_case,
    propagate_home,
)
from scripts.registration.body import Body
from scripts.registration.body_embedder import BodyEmbedder
from scripts.registration.orientation import ORIENTATIONS, Landmarks, draw_landmarks, landmarks_turned

logger = logging.getLogger(__name__)

STAGE = "first_round"


class FirstRoundStage(CaseStage):
    """Writes points, drawn points and, with a support mask, class probabilities of every case.

    Args:
        cohort: with support, scribbles and classes.
        propagation_dir: where the files go, see `PropagationFolder`.
        embedding_dir: holds the trained AnatomyNet.
        support_mask: label map of the support's whole organs on its own grid, grown from its scribbles or accepted by
            the user; None sends points alone.
        settings: see `FirstRoundSettings`.
        class_limit: most support points per class; None takes all.
        background_limit: most support points of background; None takes all.
        device: where the network runs.

    Raises:
        BundleError: no scribbles in the cohort, no support mask where there should be one, or a network that does not
            fit.
    """

    name = STAGE

    def __init__(
        self,
        cohort: Cohort,
        propagation_dir: str | Path,
        embedding_dir: str | Path,
        support_mask: str | Path | None = None,
        settings: FirstRoundSettings | None = None,
        class_limit: int | None = None,
        background_limit: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.support = cohort.scribbled_support(STAGE)
        self.cohort, self.settings = cohort, settings or FirstRoundSettings()
        self.folder = PropagationFolder(Path(propagation_dir))
        self.embedded, self._turned = WorkFolder(cohort.output_dir).embedded, dict[str, Landmarks]()
        self.limits = (class_limit, background_limit)
        self.support_mask = None if support_mask is None else Path(support_mask)
        if self.support_mask is not None and not self.support_mask.is_file():
            raise BundleError("the support mask is missing", stage=STAGE, file=self.support_mask)
        self.embed = BodyEmbedder(embedding_dir, cohort.spacing_mm, self.settings.windows, device)

    def run(self, case_ids: Iterable[str] | None = None) -> list[str]:
        """See `CaseStage.run`; what its processes shared is removed once all is done."""
        made = super().run(case_ids)
        drop_kept(self.embedded.path)
        return made

    def surveyed(self) -> list[str]:
        """The ways to turn the support: each is embedded by one process, for all."""
        return list(ORIENTATIONS)

    def survey(self, case: str) -> None:
        """Keep the support's landmarks, turned in that way."""
        self._landmarks(case)

    def cases(self) -> list[str]:
        """All of the cohort."""
        return sorted(self.cohort.cases)

    def inputs(self, case: str) -> Any:
        """Settings, strokes, support mask, network and both images."""
        return [self._shared_inputs, self.cohort.cases[case].sha256]

    def record(self, case: str) -> Path:
        """In the propagation folder."""
        return self.folder.record(case)

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Propagate to one case."""
        if case == self.support.case.id:
            volume = self._propagated_support.volume
            result = propagate_home(self._propagated_support)
        else:
            volume = read_cached(self.cohort, case)
            result = propagate_case(self._propagated_support, volume, self.embed(volume), self.settings)
        if not len(result.points):
            logger.warning("%s: its body has nothing in common with the support's, and its label map stays empty", case)
        elif result.turned is not None:
            sentence = "%s: the body is %s against the support's; look at the orientation in the header of its file"
            logger.warning(sentence, case, result.turned)
        record = PropagationRecord(
            case=case,
            support=self.support.case.id,
            rule={"name": STAGE, **asdict(self.settings.keeping)},
            spacing_mm=self.cohort.spacing_mm,
            classes=self.cohort.classes,
            points=result.points,
            similarity=result.similarity,
            turned=result.turned,
            round_trip_dice=result.round_trip_dice,
        )
        about = self.cohort.cases[case], self.support.background
        return write_case(self.folder, record, *about, result.probabilities, volume.affine)

    @cached_property
    def _propagated_support(self) -> PropagatedSupport:
        """Read once."""
        (volume, body), classes = self._support_body, self.cohort.classes
        points = read_scribble_points(self.support.scribbles, classes, *self.limits)
        channels = LabelChannels(classes)
        atlas = None if self.support_mask is None else read_atlas(self.support_mask, volume, body, channels)
        orientations = {words: self._landmarks(words) for words in ORIENTATIONS}
        return PropagatedSupport(volume, body, points, classes, orientations, atlas)

    @cached_property
    def _support_body(self) -> tuple[CachedVolume, Body]:
        """Read and embedded once."""
        case = self.support.case
        volume = read_cached(self.cohort, case.id)
        return volume, self.embed.shared(volume, case.sha256, self.embedded.body(case.id))

    def _landmarks(self, words: str) -> Landmarks:
        """Of the support, turned in one way; read once."""
        if words in self._turned:
            return self._turned[words]

        def make() -> dict[str, torch.Tensor]:
            volume, body = self._support_body
            own = draw_landmarks(body, self.settings.orientation.landmarks)
            found = landmarks_turned(words, self.embed.trained, volume, own, self.settings.windows)
            return {"places_mm": found.places_mm, "vectors": found.vectors}

        file = self.embedded.orientation(list(ORIENTATIONS).index(words))
        count = self.settings.orientation.landmarks
        kept = kept_tensors(file, [words, count, self.embed.inputs(self.support.case.sha256)], make)
        places_mm, vectors = (kept[name].to(self.embed.device) for name in ("places_mm", "vectors"))
        return self._turned.setdefault(words, Landmarks(places_mm, vectors))

    @cached_property
    def _shared_inputs(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "limits": self.limits,
            "classes": list(self.cohort.classes.items()),
            "background": self.support.background,
            "support": self.support.case.sha256,
            "scribbles": sha256_of_file(self.support.scribbles),
            "support_mask": None if self.support_mask is None else sha256_of_file(self.support_mask),
            "network": self.embed.mark,
        }
