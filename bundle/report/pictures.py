"""Slices in radiological convention: a grey JPEG with contours, strokes and points as vector graphics on top.

Vector graphics stay sharp at any zoom, can be switched by the page's checkboxes and carry tooltips, at a few kilobytes
a picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from bundle.report.markup import escape
from bundle.report.volumes import RasVolume, View

# Okabe and Ito's colours that stand out on grey, then Tol's light ones; hovering a contour names its class.
PALETTE = (
    "#E69F00", "#56B4E9", "#00B98A", "#E58CC4", "#F0E442", "#E8702A", "#99DDFF",
    "#BBCC33", "#FFAABB", "#44BB99", "#EEDD88", "#77AADD", "#AAAA00",
)  # fmt: skip
BACKGROUND_COLOUR = "#C8C8C8"

WINDOW_HU = (-160.0, 240.0)
JPEG_QUALITY = 85
NEAR_MM = 10.0
STROKE_SLAB_MM = 5.0
MAXIMUM_NEAR_POINTS = 120
CONTOUR_TOLERANCE_VOXELS = 0.35

PLANE_NAMES = ("sagittal", "coronal", "axial")  # by the axis that the slice is taken along
EDGE_LETTERS = (("A", "P", "S", "I"), ("R", "L", "S", "I"), ("R", "L", "A", "P"))  # left, right, top, bottom
SIDE_BY_SIDE = (2, 1, 0)


@dataclass(frozen=True)
class Contours:
    """Outlines to draw: a label map, which class in it, the tooltip, and how it looks."""

    labels: RasVolume
    label: int
    name: str
    style: str
    colour: str


@dataclass(frozen=True)
class Points:
    """Points to draw.

    Args:
        voxel: (N, 3) canonical voxel coordinates.
        kept: (N,) bool.
        tips: N tooltips; empty to draw without.
        colour: of the class.
    """

    voxel: np.ndarray
    kept: np.ndarray
    tips: Sequence[str]
    colour: str


@dataclass(frozen=True)
class Strokes:
    """Scribbles to draw.

    Args:
        scribbles: their label values.
        colours: label value -> colour.
        other: colour of all other strokes, such as those of the background.
    """

    scribbles: RasVolume
    colours: Mapping[int, str]
    other: str

    def others(self) -> np.ndarray:
        """(X, Y, Z) bool: strokes without a colour of their own."""
        return np.isin(self.scribbles.array, [0, *self.colours], invert=True)


def colours_of(classes: Mapping[str, int]) -> dict[str, str]:
    """A colour for every class and for background points."""
    colours = {name: PALETTE[n % len(PALETTE)] for n, name in enumerate(classes)}
    return colours | {"background": BACKGROUND_COLOUR}


def three_planes(
    image: RasVolume,
    view: View,
    pixels: int,
    contours: Sequence[Contours] = (),
    points: Sequence[Points] = (),
    strokes: Strokes | None = None,
) -> str:
    """Axial, coronal and sagittal slice side by side; a JPEG is at most `pixels` wide or high."""
    tiles = [_tile(_Frame(image, view, axis), pixels, contours, points, strokes) for axis in SIDE_BY_SIDE]
    return f'<div class="planes">{"".join(tiles)}</div>\n'


@dataclass(frozen=True)
class _Frame:
    """One plane of a view: which voxels it shows and where they lie on the picture, in mm from its top left.

    Radiological convention: the patient's right is on the picture's left (sagittal: anterior on the left), up is
    anterior or superior; so both canonical axes run against the picture's.
    """

    image: RasVolume
    view: View
    axis: int

    @property
    def axes(self) -> list[int]:
        return [axis for axis in range(3) if axis != self.axis]

    @property
    def spacing_mm(self) -> np.ndarray:
        return self.image.spacing_mm[self.axes]

    @property
    def crop(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last voxel shown along the two axes."""
        centre = np.array(self.view.centre)[self.axes]
        half = self.view.side_mm / 2 / self.spacing_mm
        last = np.array(self.image.array.shape)[self.axes] - 1
        return (
            np.clip(np.ceil(centre - half - 0.5), 0, last).astype(int),
            np.clip(np.floor(centre + half + 0.5), 0, last).astype(int),
        )

    def place_mm(self, voxel: np.ndarray) -> np.ndarray:
        """In-plane voxel coordinates (N, 2) to picture millimetres (N, 2), x right and y down."""
        centre = np.array(self.view.centre)[self.axes]
        return self.view.side_mm / 2 - (voxel - centre) * self.spacing_mm

    def cut(self, volume: RasVolume) -> np.ndarray:
        """The shown part of the slice."""
        (u0, v0), (u1, v1) = self.crop
        return volume.plane(self.axis, self.view.slices[self.axis])[u0 : u1 + 1, v0 : v1 + 1]

    def slab(self, volume: RasVolume, half_mm: float) -> np.ndarray:
        """Slices within `half_mm`, first axis across them, the shown part."""
        (u0, v0), (u1, v1) = self.crop
        index, half = self.view.slices[self.axis], int(half_mm / volume.spacing_mm[self.axis])
        near = np.moveaxis(volume.array, self.axis, 0)[max(index - half, 0) : index + half + 1]
        return near[:, u0 : u1 + 1, v0 : v1 + 1]


def _tile(
    frame: _Frame,
    pixels: int,
    contours: Sequence[Contours],
    points: Sequence[Points],
    strokes: Strokes | None,
) -> str:
    side = frame.view.side_mm
    layers = [_grey(frame, pixels)]
    if strokes is not None:
        layers.append(_strokes(frame, strokes))
    layers += [_outline(frame, contour) for contour in contours]
    layers += [_points(frame, group) for group in points]
    layers.append(_annotations(frame))
    name = PLANE_NAMES[frame.axis]
    return (
        f'<svg class="tile" viewBox="0 0 {side:.1f} {side:.1f}" role="img" aria-label="{name} slice">'
        f"{''.join(layers)}</svg>"
    )


def _grey(frame: _Frame, pixels: int) -> str:
    low_hu, high_hu = WINDOW_HU
    grey = np.clip((frame.cut(frame.image) - low_hu) * (255 / (high_hu - low_hu)), 0, 255).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(grey[::-1, ::-1].T))
    size = min(picture.width, pixels), min(picture.height, pixels)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BOX)
    (first, last), half = frame.crop, 0.5
    x, y = frame.place_mm(last + half)
    width, height = (last - first + 1) * frame.spacing_mm
    return (
        f'<image x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none" '
        f'href="{data_uri(picture, "JPEG", quality=JPEG_QUALITY)}"/>'
    )


def _outline(frame: _Frame, contour: Contours) -> str:
    mask = np.pad(frame.cut(contour.labels) == contour.label, 1)
    lines = [approximate_polygon(line, CONTOUR_TOLERANCE_VOXELS) for line in find_contours(mask, 0.5)]
    if not lines:
        return ""
    path = "".join(_polygon(frame.place_mm(line - 1 + frame.crop[0])) for line in lines if len(line) > 3)
    tip = escape(contour.name)
    return f'<path class="c {contour.style}" stroke="{contour.colour}" d="{path}"><title>{tip}</title></path>'


def _polygon(place_mm: np.ndarray) -> str:
    return "M" + " ".join(f"{x:.1f} {y:.1f}" for x, y in place_mm[:-1]) + "Z"


def _points(frame: _Frame, group: Points) -> str:
    if not len(group.voxel):
        return ""
    place = frame.place_mm(group.voxel[:, frame.axes])
    inside = np.all((place >= 0) & (place <= frame.view.side_mm), axis=1)
    away_mm = np.abs(group.voxel[:, frame.axis] - frame.view.slices[frame.axis]) * frame.image.spacing_mm[frame.axis]
    near = inside & (away_mm <= NEAR_MM)
    layers = []
    for kept, layer in ((False, "dropped"), (True, "kept")):
        chosen = group.kept == kept
        layers.append(_far_points(place[chosen & inside & ~near], layer, group.colour))
        layers += _near_points(frame, place, np.flatnonzero(chosen & near), layer, group)
    return "".join(layers)


def _near_points(frame: _Frame, place: np.ndarray, indices: np.ndarray, layer: str, group: Points) -> list[str]:
    radius = frame.view.side_mm * (0.0105 if layer == "kept" else 0.014)
    circles = []
    for index in _thinned(indices):
        x, y = place[index]
        tip = f"<title>{escape(group.tips[index])}</title>" if len(group.tips) else ""
        paint = f'fill="{group.colour}"' if layer == "kept" else f'stroke="{group.colour}"'
        circles.append(f'<circle class="{layer}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" {paint}>{tip}</circle>')
    return circles


def _far_points(place: np.ndarray, layer: str, colour: str) -> str:
    """Points away from the slice, as one path of dots."""
    if not len(place):
        return ""
    dots = "".join(f"M{x:.0f} {y:.0f}h.1" for x, y in place[_thinned(np.arange(len(place)))])
    return f'<path class="far {layer}" stroke="{colour}" d="{dots}"/>'


def _thinned(indices: np.ndarray) -> np.ndarray:
    step = max(1, -(-len(indices) // MAXIMUM_NEAR_POINTS))
    return indices[::step]


def _strokes(frame: _Frame, strokes: Strokes) -> str:
    slab = frame.slab(strokes.scribbles, STROKE_SLAB_MM)
    layers = []
    present = np.unique(slab[slab > 0]).tolist()
    for label in sorted(present, key=lambda label: label in strokes.colours):  # classes over background
        colour = strokes.colours.get(label, strokes.other)
        boxes = "".join(_run_box(frame, *run) for run in _runs((slab == label).any(axis=0)))
        layers.append(f'<path class="stroke" fill="{colour}" stroke="{colour}" d="{boxes}"/>')
    return "".join(layers)


def _runs(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """Runs of true voxels along the first axis: (first, last, second index)."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    starts, ends = np.argwhere(edges.T == 1), np.argwhere(edges.T == -1)
    return [(int(a[1]), int(b[1]) - 1, int(a[0])) for a, b in zip(starts, ends, strict=True)]


def _run_box(frame: _Frame, first: int, last: int, second: int) -> str:
    corner = np.array([last, second]) + frame.crop[0] + 0.5
    x, y = frame.place_mm(corner)
    width, height = np.array([last - first + 1, 1]) * frame.spacing_mm
    return f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h-{width:.1f}z"


def _annotations(frame: _Frame) -> str:
    side = frame.view.side_mm
    left, right, top, bottom = EDGE_LETTERS[frame.axis]
    size, pad = side * 0.042, side * 0.035
    letters = (
        (pad, side / 2, left),
        (side - pad, side / 2, right),
        (side / 2, pad, top),
        (side / 2, side - pad, bottom),
    )
    texts = "".join(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}">{letter}</text>' for x, y, letter in letters)
    name = (
        f'<text class="name" x="{pad * 0.6:.1f}" y="{pad:.1f}" font-size="{size:.1f}">{PLANE_NAMES[frame.axis]}</text>'
    )
    bar = 50 if side > 120 else 20
    x, y = side - pad * 0.8, side - pad * 1.6
    return (
        f'{texts}{name}<path class="bar" d="M{x - bar:.1f} {y:.1f}H{x:.1f}"/>'
        f'<text x="{x - bar / 2:.1f}" y="{y + size * 0.8:.1f}" font-size="{size * 0.8:.1f}">{bar} mm</text>'
    )


def data_uri(picture: Image.Image, kind: str, **settings: Any) -> str:
    """A picture as a data: address."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True, **settings)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
