"""Pseudo labels (GeoS): every voxel goes to the class whose kept points are geodesically nearest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms import KeepLargestConnectedComponent
from scipy import ndimage
from tqdm import tqdm

from scripts.common.boxes import box_of
from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import is_made_of, read_json, sha256_of_file, sha256_of_settings, write_json, write_nifti
from scripts.data.cached_volume import read_cached
from scripts.data.cohort import Case, Cohort
from scripts.data.intensity import normalise_hu
from scripts.data.probability_maps import VOTES, read_votes, votes_on_grid
from scripts.pseudo_labels.seeds import seeds_from_votes
from scripts.data.resampling import canonical, nearest_on_grid
from scripts.data.scribbles import draw_points
from scripts.data.volume_cache import at_spacing
from scripts.data.volume_io import Volume, read_labels, read_volume, spacing_of
from scripts.networks.prnet_weights import load_prnet
from scripts.pseudo_labels.border_smoothing import smoothed_shares
from scripts.pseudo_labels.boundary_refinement import dense_features, refine_boundary
from scripts.pseudo_labels.em_posterior import tissue_posterior
from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.pseudo_labels.growth_limits import Reach, within_reach
from scripts.pseudo_labels.opening_by_reconstruction import without_necks

STAGE = "pseudo_labels"
UNDECIDED = 255  # value of voxels that two classes claim almost equally
BORDER_DEPTH_SHARE = 0.25  # a small ball loses about a sixth of its radius to it at most
RELATIVE_TOLERANCE = 0.01  # of the truncation: further sweeps move hardly a label
RAS = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True)
class GeodesicSettings:
    """How pseudo labels grow from points.

    Args:
        lam: weight of intensity against length, 0 to 1 (see `geodesic_distance`).
        truncation: distance from which on a class has no affinity.
        max_iterations: limit of the distance's rounds.
        largest_component: keep each class's largest connected part only.
        spacing_mm: grid the distances are computed on, X, Y, Z of the canonical axes; None is the case's own, which is
            also taken where it has the larger voxels.
        backend: "torch" or "geodistk".
        refine: redraw the borders with the fine PRNet's features; the spacing must be the network's.
        body_only: everything outside the body is background.
        undecided_margin: voxels whose two nearest classes differ by less than this share of the truncation are
            undecided (255) and teach nothing; 0 decides all.
        confident_vote: seeds are where a class's transferred vote exceeds this (mode `default`); a class without such
            a place keeps its points. None takes points alone.
        confident_background: the same for background; None takes `confident_vote`.
        intensity_rounds: the votes are first made sharper by the case's intensities, see `tissue_posterior`.
        intensity_reach_mm: in them the background's intensities are learnt place by place, see `tissue_posterior`; 0
            learns one histogram of all.
        vote_weight: a step in a class's probability costs as much as this share of the same step in intensity; 0 looks
            at intensity alone. Without `confident_vote` there are no probabilities.
        reach: how far from its seeds a class may be, see `within_reach`; None ends nowhere.
        neck_radius_mm: what hangs on to a class by a neck that a ball of this radius cannot pass is cut off, see
            `without_necks`; 0 cuts nothing.
        neck_share: that radius is at most this share of the depth of the class's deepest seed.
        image_smoothing_voxels: paths see the image through a Gaussian of this standard deviation, so that noise costs
            less; in sides of a voxel (the median of its three), because noise and ragged borders are as wide as that. 0
            is the image itself.
        border_smoothing_voxels: borders are drawn where the classes' shares in such a Gaussian are equal, see
            `smoothed_shares`; 0 leaves them as they grew. `undecided_margin` then compares these shares.
    """

    lam: float = 1.0
    truncation: float = 1.0
    max_iterations: int = 32
    largest_component: bool = True
    spacing_mm: tuple[float, float, float] | None = None
    backend: str = "torch"
    refine: bool = False
    body_only: bool = False
    undecided_margin: float = 0.0
    confident_vote: float | None = None
    confident_background: float | None = None
    intensity_rounds: int = 0
    intensity_reach_mm: float = 0.0
    vote_weight: float = 0.0
    reach: Reach | None = None
    neck_radius_mm: float = 0.0
    neck_share: float = 0.5
    image_smoothing_voxels: float = 0.0
    border_smoothing_voxels: float = 0.0

    def __post_init__(self) -> None:
        if self.vote_weight < 0 or (self.vote_weight and self.backend == "geodistk"):
            found = f"{self.vote_weight}, backend {self.backend}"
            raise BundleError(
                "vote_weight is not usable", stage=STAGE, expected="0 or more; 0 for geodistk", found=found
            )
        for name in ("image_smoothing_voxels", "border_smoothing_voxels", "intensity_reach_mm"):
            if getattr(self, name) < 0:
                raise BundleError(f"{name} is a width", stage=STAGE, expected="0 or more", found=getattr(self, name))
        if self.spacing_mm is not None:
            object.__setattr__(self, "spacing_mm", tuple(float(step) for step in self.spacing_mm))


@dataclass(frozen=True)
class PseudoLabel:
    """A label map with the distances behind it.

    Args:
        label: (X, Y, Z) uint8, 0 background, 1..K the classes.
        distances: (K + 1, X, Y, Z) float32 up to the truncation, background first.
    """

    label: np.ndarray
    distances: np.ndarray


def geodesic_pseudo_label(
    image: np.ndarray | torch.Tensor,
    seeds: np.ndarray | torch.Tensor,
    spacing_mm: Sequence[float],
    settings: GeodesicSettings,
    device: torch.device | str | None = None,
) -> PseudoLabel:
    """Label every voxel by the nearest seeds (GeoS step of the paper).

    The distance to each class is cut at `truncation` T; the affinity is 1 - distance / T; the class of the highest
    affinity wins. Background wins ties with it and where nothing is near; of classes that tie, the first wins. A class
    without a seed stays absent.

    Args:
        image: (X, Y, Z) in [0, 1], or with further channels, (C, X, Y, Z).
        seeds: (K + 1, X, Y, Z) bool, background first.
        spacing_mm: voxel size along X, Y, Z.
        settings: see `GeodesicSettings`; its `spacing_mm` and `refine` are not looked at here.
        device: where the distances are computed.

    Raises:
        BundleError: as `geodesic_distance`.
    """
    box = _open_box(seeds)
    inside = geodesic_distance(
        image[(..., *box)],
        seeds[(slice(None), *box)],
        spacing_mm,
        lam=settings.lam,
        max_iterations=settings.max_iterations,
        truncation=settings.truncation,
        tolerance=RELATIVE_TOLERANCE * settings.truncation,
        backend=settings.backend,
        device=device,
    )
    distances = np.full(tuple(seeds.shape), settings.truncation, dtype=np.float32)
    distances[0] = 0.0
    distances[(slice(None), *box)] = inside.clamp_(max=settings.truncation).cpu().numpy()
    label, *_ = _nearest_class(distances)
    return PseudoLabel(_largest_parts(label) if settings.largest_component else label, distances)


def _open_box(seeds: np.ndarray | torch.Tensor) -> tuple[slice, ...]:
    """Box around every voxel that is no background seed, with a rim of one.

    Beyond it there are background seeds only. A way out of the box and back passes one, and from there on background is
    at least as near as the class: labels need no look beyond.
    """
    everything = tuple(slice(0, size) for size in seeds.shape[1:])
    return box_of(~np.asarray(seeds[0], dtype=bool), margins=(1, 1, 1)) or everything


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
                "border_sureness": about.get("border_sureness", {}),
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
        votes = self._votes(name, working)
        seeds = self._seeds(name, record, working, votes)
        if self.settings.body_only:
            outside = ~self._body(name, working)
            seeds[1:] &= ~outside
            seeds[0] |= outside
        channels = self._path_channels(working, votes)
        pseudo = geodesic_pseudo_label(channels, seeds, spacing_of(working.affine), self.settings, device=self.device)
        distances = self._refined(pseudo, working.array) if self.network is not None else pseudo.distances
        about = {}
        if self.settings.reach is not None:
            sureness = _end_at_reach(distances, seeds, spacing_of(working.affine), self.settings)
            numbered = enumerate(self.cohort.classes, start=1)
            about["border_sureness"] = {name: sureness[channel] for channel, name in numbered if channel in sureness}
        if self.settings.neck_radius_mm:
            shares = _cut_necks(distances, seeds, spacing_of(working.affine), self.settings)
            about["cut_off"] = dict(zip(self.cohort.classes, shares, strict=True))
        if self.settings.border_smoothing_voxels:
            distances = _smooth_borders(distances, seeds, spacing_of(working.affine), self.settings)
        label = _label_on_grid(distances, working.affine, self._case(name).shape, original.affine, self.settings)
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

    def _path_channels(self, working: Volume, votes: np.ndarray | None) -> np.ndarray:
        """(C, X, Y, Z) whose steps make a path long: intensity, and the weighted probability of each class.

        The votes' memory is used, to spare a copy.
        """
        image = working.array
        if self.settings.image_smoothing_voxels:
            spacing_mm = spacing_of(working.affine)
            width_mm = self.settings.image_smoothing_voxels * np.median(spacing_mm)
            image = ndimage.gaussian_filter(image, width_mm / spacing_mm)
        if votes is None or not self.settings.vote_weight:
            return image[None]
        votes *= self.settings.vote_weight
        votes[0] = image
        return votes

    def _seeds(self, name: str, record: Mapping[str, Any], working: Volume, votes: np.ndarray | None) -> np.ndarray:
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
        if votes is None:
            return seeds
        voted = seeds_from_votes(votes, self.settings.confident_vote, self.settings.confident_background)
        unheard = ~voted.any(axis=(1, 2, 3))
        voted[unheard] = seeds[unheard] & ~voted.any(axis=0)
        return voted

    def _votes(self, name: str, working: Volume) -> np.ndarray | None:
        """(1 + K, X, Y, Z) class probabilities on the working image's grid, sharper; None without `confident_vote`."""
        if self.settings.confident_vote is None:
            return None
        votes, affine = read_votes(self._votes_file(name))
        if self.settings.intensity_rounds:
            cached = read_cached(self.cohort, name)
            body, image = cached.body.numpy(), cached.image[0].numpy()
            votes, affine = votes_on_grid(votes, affine, cached.affine, body.shape), cached.affine
            rounds, reach_mm = self.settings.intensity_rounds, self.settings.intensity_reach_mm
            votes = tissue_posterior(image, votes, body, self.cohort.spacing_mm, rounds, reach_mm)
        return votes_on_grid(votes.astype(np.float32), affine, working.affine, working.array.shape)

    def _refined(self, pseudo: PseudoLabel, image: np.ndarray) -> np.ndarray:
        """The distances; where refinement changed the label, 0 to the new class and the truncation to all others."""
        box = box_of(pseudo.label, margins=[size // 2 for size in self.network.patch_size])
        if box is None:
            return pseudo.distances
        features = dense_features(self.network, image[box], self.network.patch_size, device=self.device)
        label = pseudo.label.copy()
        label[box] = refine_boundary(label[box], features)
        changed = label != _nearest_class(pseudo.distances)[0]
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
                "votes": None if self.settings.confident_vote is None else sha256_of_file(self._votes_file(name)),
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

    def _votes_file(self, name: str) -> Path:
        return self.output_dir / "propagation" / f"{name}{VOTES}"

    def _label_file(self, name: str) -> Path:
        return self.labels_dir / f"{name}.nii.gz"

    def _record_file(self, name: str) -> Path:
        return self.labels_dir / f"{name}.json"


def _end_at_reach(
    distances: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], settings: GeodesicSettings
) -> dict[int, float]:
    """Give what lies too far from a class's seeds to the background, in place; arguments as for `_cut_necks`.

    Returns channel -> how sure the border is, see `within_reach`, of every class that has seeds.
    """
    label, nearest, second = _nearest_class(distances)
    sureness = {}
    for channel in range(1, len(distances)):
        mask, sown = label == channel, seeds[channel]
        if not sown.any():
            continue
        box = box_of(mask | sown, margins=(0, 0, 0))
        ratio = nearest[box] / np.maximum(second[box], np.finfo(np.float32).tiny)
        kept, sure = within_reach(mask[box], sown[box], ratio, spacing_mm, settings.reach)
        _to_background(distances[(slice(None), *box)], channel, mask[box] & ~kept, settings)
        sureness[channel] = round(sure, 3)
    return sureness


def _cut_necks(
    distances: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], settings: GeodesicSettings
) -> list[float]:
    """Give what leaked out of a class to the background, in place: (K + 1, X, Y, Z) distances, background first.

    Returns the share of each of the K classes that is lost.
    """
    label, *_ = _nearest_class(distances)
    shares = [0.0] * (len(distances) - 1)
    for channel in range(1, len(distances)):
        if (box := box_of(label == channel, margins=(1, 1, 1))) is None:
            continue
        mask = label[box] == channel
        kept = without_necks(mask, seeds[channel][box], spacing_mm, settings.neck_radius_mm, settings.neck_share)
        leaked = mask & ~kept
        _to_background(distances[(slice(None), *box)], channel, leaked, settings)
        shares[channel - 1] = round(float(leaked.sum() / mask.sum()), 3)
    return shares


def _smooth_borders(
    distances: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], settings: GeodesicSettings
) -> np.ndarray:
    """Distances whose nearest class has smooth borders; arguments as for `_cut_necks`."""
    label, *_ = _nearest_class(distances)
    width_mm = settings.border_smoothing_voxels * float(np.median(spacing_mm))
    shares = smoothed_shares(label, seeds, spacing_mm, width_mm, BORDER_DEPTH_SHARE)
    np.subtract(1, shares, out=shares)
    shares *= settings.truncation
    return shares


def _to_background(distances: np.ndarray, channel: int, lost: np.ndarray, settings: GeodesicSettings) -> None:
    """Give the voxels `lost` of a class to the background, in place."""
    distances[channel][lost] = settings.truncation
    distances[0][lost] = 0.0


def _nearest_class(distances: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (X, Y, Z) maps, at each voxel: uint8 index of the smallest (first of equals), its value, the next one's."""
    label, nearest, second = None, None, None
    for index, distance in enumerate(distances):
        if label is None:
            label, nearest = np.zeros(distance.shape, dtype=np.uint8), distance.copy()
            second = np.full_like(nearest, np.inf)
            continue
        np.minimum(second, np.maximum(nearest, distance), out=second)
        closer = distance < nearest
        label[closer] = index
        nearest[closer] = distance[closer]
    return label, nearest, second


def _label_on_grid(
    distances: np.ndarray,
    working_affine: np.ndarray,
    shape: Sequence[int],
    affine: np.ndarray,
    settings: GeodesicSettings,
) -> np.ndarray:
    """Index map on the grid of `shape` and `affine` from (K + 1, X, Y, Z) canonical distances, made finer linearly.

    Undecided voxels get `UNDECIDED`.
    """
    orientation = nib.io_orientation(affine)
    canonical_affine = affine @ nib.orientations.inv_ornt_aff(orientation, shape)
    canonical_shape = tuple(int(shape[axis]) for axis in np.argsort(orientation[:, 0]))
    to_working = np.linalg.inv(working_affine) @ canonical_affine
    finer = (_sampled(distance, to_working, canonical_shape) for distance in distances)
    label, nearest, second = _nearest_class(finer)
    if settings.largest_component:
        label = _largest_parts(label)
    close = second - nearest < settings.undecided_margin * settings.truncation
    label[close & (nearest < settings.truncation)] = UNDECIDED
    back = nib.orientations.ornt_transform(RAS, orientation)
    return np.ascontiguousarray(nib.apply_orientation(label, back))


def _sampled(distance: np.ndarray, to_distance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation on a grid with parallel axes; (4, 4) `to_distance` maps its voxels to those of the map."""
    if distance.shape == shape and np.allclose(to_distance, np.eye(4), atol=1e-6):
        return distance
    scale, offset = np.diag(to_distance)[:3], to_distance[:3, 3]
    return ndimage.affine_transform(distance, scale, offset, output_shape=shape, order=1, mode="nearest")


def _largest_parts(label: np.ndarray) -> np.ndarray:
    """Each class's largest part whose voxels share faces, on an index map."""
    keep = KeepLargestConnectedComponent(is_onehot=False, independent=True, connectivity=1)
    return np.asarray(keep(label[None])[0], dtype=np.uint8)


def _volumes_ml(label: np.ndarray, classes: Mapping[str, int], affine: np.ndarray) -> dict[str, float]:
    counts = np.bincount(label.ravel(), minlength=UNDECIDED + 1)[1 : len(classes) + 1]
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return {name: round(float(count * voxel_ml), 3) for name, count in zip(classes, counts, strict=True)}
