"""Pseudo labels (GeoS): every voxel goes to the class whose kept points are geodesically nearest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from scripts.common.affines import spacing_of
from scripts.common.boxes import box_of
from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import is_made_of, read_json, sha256_of_file, sha256_of_settings, write_json, write_nifti
from scripts.data.cached_volume import read_cached
from scripts.data.case import Case
from scripts.data.cohort import Cohort
from scripts.data.intensity import normalise_hu
from scripts.data.probability_maps import PROBABILITIES, probabilities_on_grid, read_probabilities
from scripts.data.resampling import canonical, nearest_on_grid
from scripts.data.scribbles import draw_points
from scripts.data.volume_cache import at_spacing
from scripts.data.volume_io import Volume, read_labels, read_volume
from scripts.networks.prnet_weights import load_prnet
from scripts.pseudo_labels.boundary_refinement import dense_features, refine_boundary
from scripts.pseudo_labels.em_posterior import em_posterior
from scripts.pseudo_labels.geodesic_labels import PseudoLabel, geodesic_pseudo_label, nearest_class
from scripts.pseudo_labels.label_resampling import UNDECIDED, label_on_grid
from scripts.pseudo_labels.post_processing import limit_growth, open_masks, smooth_borders
from scripts.pseudo_labels.seeds import seeds_from_probabilities
from scripts.pseudo_labels.settings import STAGE, GeodesicSettings


class PseudoLabeller:
    """Makes `pseudo_labels/ID.nii.gz` and `ID.json` from `propagation/ID.json`, on each case's own grid.

    Under `torch.distributed` every rank takes its share of the cases.

    Args:
        cohort: cases and classes.
        output_dir: the work directory.
        settings: see `GeodesicSettings`.
        fine_dir: folder of the fine PRNet; needed with `settings.refine` only.
        device: where distances and features are computed.
        given: case -> label map on its own grid that the user accepted; it is taken as it is.
        labels_dir: where label maps go; None for `pseudo_labels/` in the work directory.

    Raises:
        BundleError: refinement is on and the network is missing or works at another spacing.
    """

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        settings: GeodesicSettings | None = None,
        fine_dir: str | Path | None = None,
        device: torch.device | str = "cpu",
        given: Mapping[str, str | Path] | None = None,
        labels_dir: str | Path | None = None,
    ) -> None:
        self.cohort = cohort
        self.output_dir = Path(output_dir)
        self.labels_dir = self.output_dir / "pseudo_labels" if labels_dir is None else Path(labels_dir)
        self.given = {case: Path(file) for case, file in (given or {}).items()}
        self.settings = settings or GeodesicSettings()
        self.device = torch.device(device)
        self.network, self.network_hash = None, None
        if self.settings.refine:
            self._load_network(fine_dir)

    def run(self, case_ids: Iterable[str] | None = None) -> list[str]:
        """Label the cases (default: all that have propagated points) that are not up to date; returns their names.

        Raises:
            BundleError: no points at all, damaged files, or points of other classes.
        """
        cases = sorted(name for name in self.cohort.cases if self._points_file(name).exists())
        cases = list(case_ids) if case_ids is not None else cases
        if not cases:
            raise BundleError(
                "no case has propagated points", stage=STAGE, file=self.output_dir / "propagation", expected="ID.json"
            )
        rank, world = rank_and_world()
        written = []
        for case in tqdm(cases[rank::world], desc="pseudo labels", unit="case", disable=rank > 0):
            record = read_json(self._points_file(case))
            inputs = self._inputs(case, record)
            if not self._up_to_date(case, inputs):
                self._label_case(case, record, inputs)
                written.append(case)
        return written

    def _label_case(self, name: str, record: Mapping[str, Any], inputs: str) -> None:
        start = time.perf_counter()
        original = nib.load(self._case(name).image)
        given = name in self.given
        label, not_located, about = (self._given(name), [], {}) if given else self._grown(name, record, original)
        values = np.full(UNDECIDED + 1, UNDECIDED, dtype=np.uint8)
        values[: len(self.cohort.classes) + 1] = [0, *self.cohort.classes.values()]
        write_nifti(self._label_file(name), values[label], original.affine, like=original)
        classes = self.cohort.classes
        write_json(
            self._record_file(name),
            {
                "case": name,
                "classes": classes,
                "not_located": not_located,
                "given": given,
                "volume_ml": _volumes_ml(label, classes, original.affine),
                "cut_off": about.get("cut_off", {}),
                "border_confidence": about.get("border_confidence", {}),
                "settings": asdict(self.settings),
                "inputs": inputs,
                "seconds": round(time.perf_counter() - start, 3),
            },
        )

    def _given(self, name: str) -> np.ndarray:
        """(X, Y, Z) class indices of an accepted label map; a class that it lacks is absent, not unlocated."""
        array = read_labels(self.given[name]).array
        label = np.zeros(array.shape, dtype=np.uint8)
        for channel, value in enumerate(self.cohort.classes.values(), start=1):
            label[array == value] = channel
        return label

    def _grown(
        self, name: str, record: Mapping[str, Any], original: nib.Nifti1Image
    ) -> tuple[np.ndarray, list[str], dict[str, dict[str, float]]]:
        """(X, Y, Z) class indices on the case's own grid, the classes that have no seed, and of each class what necks
        took of it and how sure its border is, where it has any."""
        working = self._working_image(self._case(name))
        probabilities = self._probabilities(name, working)
        seeds = self._seeds(name, record, working, probabilities)
        if self.settings.body_only:
            outside = ~self._body(name, working)
            seeds[1:] &= ~outside
            seeds[0] |= outside
        channels = self._path_channels(working, probabilities)
        pseudo = geodesic_pseudo_label(channels, seeds, spacing_of(working.affine), self.settings, device=self.device)
        distances = self._refined(pseudo, working.array) if self.network is not None else pseudo.distances
        about = {}
        if self.settings.reach is not None:
            border_confidence = limit_growth(distances, seeds, spacing_of(working.affine), self.settings)
            numbered = enumerate(self.cohort.classes, start=1)
            about["border_confidence"] = {
                name: border_confidence[channel] for channel, name in numbered if channel in border_confidence
            }
        if self.settings.opening_radius_mm:
            shares = open_masks(distances, seeds, spacing_of(working.affine), self.settings)
            about["cut_off"] = dict(zip(self.cohort.classes, shares, strict=True))
        if self.settings.border_smoothing_voxels:
            distances = smooth_borders(distances, seeds, spacing_of(working.affine), self.settings)
        label = label_on_grid(distances, working.affine, self._case(name).shape, original.affine, self.settings)
        located = zip(self.cohort.classes, seeds[1:], strict=True)
        return label, [name for name, seed in located if not seed.any()], about

    def _working_image(self, case: Case) -> Volume:
        """The normalised image in canonical orientation at the settings' spacing."""
        if self.settings.spacing_mm == self.cohort.spacing_mm:
            cached = nib.load(self.cohort.cached_image(case.id))
            return Volume(np.asarray(cached.dataobj, dtype=np.float32), cached.affine)
        volume = canonical(read_volume(case.image))
        spacing_mm = self.settings.spacing_mm
        if spacing_mm is not None and np.prod(spacing_mm) > np.prod(volume.spacing_mm):
            volume = at_spacing(volume, spacing_mm)
        return Volume(normalise_hu(volume.array), volume.affine)

    def _body(self, name: str, working: Volume) -> np.ndarray:
        """(X, Y, Z) bool on the working image's grid."""
        cached = nib.load(self.cohort.cached_body(name))
        body = Volume(np.asarray(cached.dataobj), cached.affine)
        return nearest_on_grid(body, working.affine, working.array.shape) > 0

    def _path_channels(self, working: Volume, probabilities: np.ndarray | None) -> np.ndarray:
        """(C, X, Y, Z) whose steps make a path long: intensity, and the weighted probability of each class.

        The votes' memory is used, to spare a copy.
        """
        image = working.array
        if self.settings.image_smoothing_voxels:
            spacing_mm = spacing_of(working.affine)
            width_mm = self.settings.image_smoothing_voxels * np.median(spacing_mm)
            image = ndimage.gaussian_filter(image, width_mm / spacing_mm)
        if probabilities is None or not self.settings.probability_weight:
            return image[None]
        probabilities *= self.settings.probability_weight
        probabilities[0] = image
        return probabilities

    def _seeds(
        self, name: str, record: Mapping[str, Any], working: Volume, probabilities: np.ndarray | None
    ) -> np.ndarray:
        """(K + 1, X, Y, Z) bool of confident votes; a class without any, or without votes, has its kept points.

        A voxel with points of several classes goes to that of the highest score.
        """
        channel_of = {0: 0} | {value: index for index, value in enumerate(self.cohort.classes.values(), start=1)}
        kept = [point for point in record["points"] if point["kept"]]
        unknown = sorted({point["label"] for point in kept} - set(channel_of))
        if unknown:
            raise BundleError(
                "the propagated points are of other classes",
                case=name,
                stage=STAGE,
                file=self._points_file(name),
                expected=self.cohort.classes,
                found=unknown,
            )
        places_mm = np.array([point["located_mm"] for point in kept], dtype=float).reshape(-1, 3)
        channels = np.array([channel_of[point["label"]] for point in kept], dtype=int)
        scores = np.array([point["score"] for point in kept], dtype=float)
        order = np.where(channels == 0, -np.inf, scores)  # background erases nothing
        drawn = draw_points(places_mm, channels + 1, order, working.affine, working.array.shape)
        seeds = np.stack([drawn == channel for channel in range(1, len(channel_of) + 1)])
        if probabilities is None:
            return seeds
        voted = seeds_from_probabilities(
            probabilities, self.settings.seed_probability, self.settings.background_seed_probability
        )
        unheard = ~voted.any(axis=(1, 2, 3))
        voted[unheard] = seeds[unheard] & ~voted.any(axis=0)
        return voted

    def _probabilities(self, name: str, working: Volume) -> np.ndarray | None:
        """(1 + K, X, Y, Z) class probabilities on the working image's grid, sharper; None without `seed_probability`."""
        if self.settings.seed_probability is None:
            return None
        probabilities, affine = read_probabilities(self._probabilities_file(name))
        if self.settings.em_rounds:
            cached = read_cached(self.cohort, name)
            body, image = cached.body.numpy(), cached.image[0].numpy()
            probabilities, affine = (
                probabilities_on_grid(probabilities, affine, cached.affine, body.shape),
                cached.affine,
            )
            rounds, reach_mm = self.settings.em_rounds, self.settings.em_reach_mm
            probabilities = em_posterior(image, probabilities, body, self.cohort.spacing_mm, rounds, reach_mm)
        return probabilities_on_grid(probabilities.astype(np.float32), affine, working.affine, working.array.shape)

    def _refined(self, pseudo: PseudoLabel, image: np.ndarray) -> np.ndarray:
        """The distances; where refinement changed the label, 0 to the new class and the truncation to all others."""
        box = box_of(pseudo.label, margins=[size // 2 for size in self.network.patch_size])
        if box is None:
            return pseudo.distances
        features = dense_features(self.network, image[box], self.network.patch_size, device=self.device)
        label = pseudo.label.copy()
        label[box] = refine_boundary(label[box], features)
        changed = label != nearest_class(pseudo.distances)[0]
        distances = pseudo.distances.copy()
        distances[:, changed] = np.where(
            np.arange(len(distances))[:, None] == label[changed], 0.0, self.settings.truncation
        )
        return distances

    def _load_network(self, fine_dir: str | Path | None) -> None:
        if fine_dir is None:
            raise BundleError("refinement needs the fine PRNet", stage=STAGE, expected="its folder as fine_dir")
        if self.settings.spacing_mm != self.cohort.spacing_mm:
            raise BundleError(
                "refinement works on the cached volumes' grid",
                stage=STAGE,
                expected=f"geodesic spacing {list(self.cohort.spacing_mm)} mm",
                found=self.settings.spacing_mm,
            )
        self.network = load_prnet(fine_dir, spacing_mm=self.cohort.spacing_mm, device=self.device).network
        self.network_hash = sha256_of_file(Path(fine_dir) / "model.pt")

    def _inputs(self, name: str, record: Mapping[str, Any]) -> str:
        """Fingerprint of all the label map depends on."""
        return sha256_of_settings(
            {
                "settings": asdict(self.settings),
                "points": record["points"],
                "classes": list(self.cohort.classes.items()),
                "image": self._case(name).sha256,
                "network": self.network_hash,
                **({"given": sha256_of_file(self.given[name])} if name in self.given else {}),
                "probabilities": None
                if self.settings.seed_probability is None
                else sha256_of_file(self._probabilities_file(name)),
            }
        )

    def _up_to_date(self, name: str, inputs: str) -> bool:
        return self._label_file(name).exists() and is_made_of(self._record_file(name), inputs)

    def _case(self, name: str) -> Case:
        if name not in self.cohort.cases:
            raise BundleError("the case is not in the cohort", case=name, stage=STAGE, expected=list(self.cohort.cases))
        return self.cohort.cases[name]

    def _points_file(self, name: str) -> Path:
        return self.output_dir / "propagation" / f"{name}.json"

    def _probabilities_file(self, name: str) -> Path:
        return self.output_dir / "propagation" / f"{name}{PROBABILITIES}"

    def _label_file(self, name: str) -> Path:
        return self.labels_dir / f"{name}.nii.gz"

    def _record_file(self, name: str) -> Path:
        return self.labels_dir / f"{name}.json"


def _volumes_ml(label: np.ndarray, classes: Mapping[str, int], affine: np.ndarray) -> dict[str, float]:
    counts = np.bincount(label.ravel(), minlength=UNDECIDED + 1)[1 : len(classes) + 1]
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return {name: round(float(count * voxel_ml), 3) for name, count in zip(classes, counts, strict=True)}
