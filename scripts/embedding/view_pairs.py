"""Two overlapping augmented views of one volume with points that correspond: what AnatomyNet learns from."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from scripts.data.intensity import only_body
from scripts.data.noise import seeded_noise

MAX_DRAWS = 20
QUARTERS = 4


@dataclass(frozen=True)
class View:
    """A window into a volume: volume voxel = matrix @ (window voxel - middle of the window) + centre.

    Attributes:
        matrix: (3, 3) rotation and scale, in voxels (the working grid is isotropic or nearly so).
        centre: (3,) volume voxel in the middle of the window.
        size: (X, Y, Z) voxels of the window.
        slices: first and last slice of the volume, along Z, that the view shows.
    """

    matrix: np.ndarray
    centre: np.ndarray
    size: tuple[int, int, int]
    slices: tuple[float, float] = (-math.inf, math.inf)

    @property
    def middle(self) -> np.ndarray:
        """Window voxel in the middle, (3,)."""
        return (np.array(self.size) - 1) / 2

    def to_window(self, voxels: np.ndarray) -> np.ndarray:
        """Volume voxels (N, 3) -> window voxels (N, 3)."""
        return (voxels - self.centre) @ np.linalg.inv(self.matrix).T + self.middle

    def sample(self, volume: Tensor) -> Tensor:
        """The window's voxels, linear, zero outside `slices`: (C, X, Y, Z) volume -> (C, *size)."""
        # grid_sample wants coordinates from -1 to 1 (align_corners), last axis first.
        device, single = volume.device, torch.float32
        shape = torch.tensor(volume.shape[1:], dtype=single, device=device)
        axes = [torch.arange(size, dtype=single, device=device) - (size - 1) / 2 for size in self.size]
        matrix, centre = (torch.as_tensor(part, dtype=single, device=device) for part in (self.matrix, self.centre))
        voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ matrix.T + centre
        grid = (2 * voxels / (shape - 1).clamp(min=1) - 1).flip(-1)
        window = functional.grid_sample(volume[None], grid[None], mode="bilinear", align_corners=True)[0]
        low, high = self.slices
        return window * ((voxels[..., 2] >= low) & (voxels[..., 2] <= high))


class ViewPairsd(Randomizable, MapTransform):
    """Draw two views of one volume, each turned, scaled and recoloured at random, and points that lie in both.

    No mirroring: left and right must stay apart. Views are cut off along the body's axis, each elsewhere: a scan's
    first and last slice are no anatomy, and a network that sees the same end in both views measures from it.

    Args:
        image_key, body_key: (1, X, Y, Z) image in [0, 1] and body mask on the same grid; views are made on the image's
            device.
        window_size: (X, Y, Z) voxels of a view, multiples of 16.
        spacing_mm: voxel size of the volumes.
        points: corresponding points that are drawn from each pair of views.
        scale: smallest and largest zoom of a view.
        stretch: largest logarithm of a further zoom of each axis of its own.
        cut: probability that a view ends before the volume does, at either end.
        least_mm: mm of the volume, along its axis, that are left on either side of the views' common centre.
        rotation_deg: largest angle about each axis, in degrees.
        shift: largest distance of a view's centre from the common centre, in windows.
        candidates: body voxels looked at for each point: a body has millions, of which two views may share one in a
            hundred.
        log_gamma: largest logarithm of the exponent of the intensities, either way.
        remap: largest logarithm of the slope of each quarter of the intensities against the others, either way: their
            order stays, their contrast does not, as between MRs. 0 leaves it out.
        gain: largest relative change of the intensities, either way.
        offset: largest shift of the intensities, which lie in [0, 1], either way.
        noise: largest standard deviation of Gaussian noise, of intensities in [0, 1].
        recolour: False leaves the intensities alone.
    """

    def __init__(
        self,
        window_size: Sequence[int],
        spacing_mm: Sequence[float],
        points: int = 400,
        scale: tuple[float, float] = (0.75, 1.3),
        stretch: float = 0.15,
        cut: float = 0.7,
        least_mm: float = 32.0,
        rotation_deg: float = 10.0,
        shift: float = 0.25,
        candidates: int = 200,
        log_gamma: float = 0.2,
        remap: float = 0.0,
        gain: float = 0.1,
        offset: float = 0.05,
        noise: float = 0.03,
        recolour: bool = True,
        image_key: str = "image",
        body_key: str = "body",
    ) -> None:
        MapTransform.__init__(self, [image_key, body_key])
        x, y, z = (int(size) for size in window_size)
        self.window_size = (x, y, z)
        self.spacing_mm = np.array(spacing_mm, dtype=float)
        self.points, self.scale, self.rotation_deg, self.shift = points, tuple(scale), rotation_deg, shift
        self.stretch, self.cut, self.least_mm, self.candidates = stretch, cut, least_mm, candidates
        self.log_gamma, self.gain, self.offset, self.noise = log_gamma, gain, offset, noise
        self.remap, self.recolour = remap, recolour
        self.image_key, self.body_key = image_key, body_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[str, Tensor]:
        """{"views": (2, 1, X, Y, Z), "voxels": (2, N, 3) the points in each view, "places_mm": (N, 3) in the volume}.

        An item with "view_seed" gets the same views every time.
        """
        if "view_seed" in data:
            self.set_random_state(seed=data["view_seed"])
        image, mask = torch.as_tensor(data[self.image_key]).float(), torch.as_tensor(data[self.body_key]) > 0
        image = only_body(image, mask.to(image.device))
        views, shared = self._overlapping(mask[0].cpu().numpy())
        windows = torch.stack([self._coloured(view.sample(image)) for view in views])
        voxels = np.stack([view.to_window(shared) for view in views])
        return {
            "views": windows,
            "voxels": torch.as_tensor(voxels, dtype=torch.float32),
            "places_mm": torch.as_tensor(shared * self.spacing_mm, dtype=torch.float32),
        }

    def _overlapping(self, body: np.ndarray) -> tuple[list[View], np.ndarray]:
        """Two views and `points` voxels of the (X, Y, Z) body that lie in both, drawn with replacement.

        Of an empty body, those of the whole volume.
        """
        voxels = np.flatnonzero(body) if body.any() else np.arange(body.size)
        for _ in range(MAX_DRAWS):
            drawn = voxels[self.R.randint(len(voxels), size=1 + self.candidates * self.points)]
            drawn = np.stack(np.unravel_index(drawn, body.shape), axis=1)
            centre, candidates = drawn[0], drawn[1:]
            views = [self._view(centre, body.shape[2]) for _ in range(2)]
            shared = candidates[np.logical_and(*(_inside(view, candidates) for view in views))]
            if len(shared):
                chosen = shared[self.R.randint(len(shared), size=self.points)]
                return views, chosen + self.R.uniform(-0.5, 0.5, chosen.shape)
        raise RuntimeError("two views of one volume never overlapped")

    def _view(self, centre: np.ndarray, slices: int) -> View:
        angles = self.R.uniform(-self.rotation_deg, self.rotation_deg, 3)
        zoom = np.exp(self.R.uniform(*np.log(self.scale)) + self.R.uniform(-self.stretch, self.stretch, 3))
        # The rotation is one in mm; in voxels of unequal size it is conjugated with the spacing.
        rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        matrix = np.diag(1 / self.spacing_mm) @ (rotation * zoom) @ np.diag(self.spacing_mm)
        moved = centre + self.R.uniform(-self.shift, self.shift, 3) * self.window_size
        return View(matrix, moved, self.window_size, self._slices(centre[2], slices))

    def _slices(self, middle: float, slices: int) -> tuple[float, float]:
        """First and last slice of a view whose volume may be cut off on either side of the slice `middle`."""
        least = self.least_mm / self.spacing_mm[2]
        low, high = self.R.uniform(0, max(middle - least, 0)), self.R.uniform(min(middle + least, slices), slices)
        cut_low, cut_high = self.R.uniform(size=2) < self.cut
        return (low if cut_low else -math.inf, high if cut_high else math.inf)

    def _coloured(self, window: Tensor) -> Tensor:
        if not self.recolour:
            return window
        gamma = np.exp(self.R.uniform(-self.log_gamma, self.log_gamma))
        gain = self.R.uniform(1 - self.gain, 1 + self.gain)
        offset = self.R.uniform(-self.offset, self.offset)
        noise = seeded_noise(window, self.R) * self.R.uniform(0, self.noise)
        if self.remap:
            window = remapped(window.clamp(0, 1), np.exp(self.R.uniform(-self.remap, self.remap, QUARTERS)))
        return (gain * window.clamp(min=0) ** gamma + offset + noise).clamp(0, 1)


def remapped(window: Tensor, slopes: np.ndarray) -> Tensor:
    """Intensities in [0, 1], any shape, through a rising line of equally long pieces of (K,) slopes; 0 and 1 stay."""
    ends = np.concatenate([[0.0], np.cumsum(slopes)]) / np.sum(slopes)
    heights = torch.as_tensor(ends, dtype=window.dtype, device=window.device)
    pieces = window * len(slopes)
    first = pieces.floor().clamp(max=len(slopes) - 1).long()
    return heights[first] + (pieces - first) * (heights[first + 1] - heights[first])


def _inside(view: View, voxels: np.ndarray) -> np.ndarray:
    """Which volume voxels a view shows, half a voxel or more from the window's border, (N,) bool."""
    in_window = view.to_window(voxels)
    low, high = view.slices
    shown = (voxels[:, 2] >= low) & (voxels[:, 2] <= high)
    return shown & np.all((in_window >= 0.5) & (in_window <= np.array(view.size) - 1.5), axis=1)


def seeded_items(items: Sequence[Mapping[str, str]], views: int, seed: int) -> list[dict[str, Any]]:
    """Validation items: each of `items` `views` times, always with the same views.

    Args:
        items: the cases set aside.
        views: pairs of views that are looked at of each case set aside.
        seed: of the first of them.
    """
    return [{**item, "view_seed": seed + number} for item in items for number in range(views)]


def prepare_views(
    batch: Mapping[str, Tensor], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Network input and loss target of a batch of view pairs, for MONAI's engines (`prepare_batch`).

    Input (2B, 1, X, Y, Z), view 0 of every volume first; target "voxels" (2B, N, 3) likewise, "places_mm" (B, N, 3).
    """
    views, voxels, places_mm = (
        batch[key].to(device=device, non_blocking=non_blocking, **kwargs) for key in ("views", "voxels", "places_mm")
    )
    first_then_second = [torch.cat([item[:, 0], item[:, 1]]) for item in (views, voxels)]
    return first_then_second[0], {"voxels": first_then_second[1], "places_mm": places_mm}
