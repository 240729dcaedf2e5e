"""Are these Hounsfield units, and is there tissue? Judged by the values alone, without labels.

Only marks that no right CT shows are called faults: a volume without air, a crop to an organ, a thin slab, a phantom of
water, padding and metal stay good. Each threshold says what right CT it spares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLES_PER_AXIS = 48  # at least, where the volume has as many; fewer than 96

PADDING_HU = -1200.0  # scanners fill with -2000, -3024, -32768; air with noise stays above
AIR_HU = -300.0  # below: air and lung; above: anything that a body is made of, fat included
BULK = 0.01  # of the voxels: fewer are metal, noise or stray values
FEW = 0.001
ATOM = 0.02  # share of one value: of a clipped volume at its limit; noise spreads over more values
NORMALISED_SPAN = 16.0  # the quietest CT of water, noise of 3 HU, spans more
HELD_HU = (-100.0, 200.0)  # between them the networks tell most tissues apart (see `normalise_hu`)
OFFSETS = (1024.0, 32768.0, -1024.0)  # intercept left out, unsigned zero, intercept applied twice
SOFT_TISSUE_HU = np.array([-174.0, 156.0])  # fat to muscle, whether water lies at 1000 or at 1024
NOISE_HU = np.array([-100.0, 100.0])
RIGHT_TISSUE_HU = np.array([60.0, 150.0])  # with water at 1024 the lightest lung and little else
LUNG_HU = -524.0  # hardly any lung is denser
DENSE_HU = 950.0  # no crop to vessels or bone is surrounded by as much
ZERO_SHARE = 0.03  # of the brightest tenth: MR's background lies below
FAR_BELOW = 0.3  # of the brightest tenth: interpolation of MR rings less, air and fat of CT lie lower
BACKGROUND_SHARE = 0.2  # of one value; no tissue has as much of it
PAINTED_VALUES = 16
MOST_LABELS = 256
EQUAL_NEIGHBOURS = 0.8  # of labelled neighbours: label maps reach 0.95, noisy images stay under 0.5


@dataclass(frozen=True)
class Finding:
    """What is odd about a volume's values.

    Attributes:
        problem: in words.
        remedy: what to do.
        usable: False where no label map of it could be right; True where it is used and the user is told.
    """

    problem: str
    remedy: str
    usable: bool = False

    @property
    def sentence(self) -> str:
        """Problem and remedy."""
        return f"{self.problem}; {self.remedy}"


MR_LIKE = Finding(
    "the values are no Hounsfield units, but like those of MR or PET: nothing lies below 0",
    "it is used as if it were CT, so look at its label map before you trust it; if all volumes are MR, say "
    "--modality mr",
    usable=True,
)
MR_AMONG_CT = Finding(
    "this is MR or PET by its header or its values, and the others are taken for CT",
    "run MR by itself; if it is CT all the same, say --modality ct",
)
CT_LIKE = Finding(
    "this is CT by its header or its values: some lie far below 0",
    "it is used as if it were MR, so look at its label map before you trust it; if all volumes are CT, say "
    "--modality ct",
    usable=True,
)
CT_AMONG_MR = Finding(
    "this is CT by its header or its values, and the others are taken for MR",
    "run CT by itself; if it is MR all the same, say --modality mr",
)
WRAPPED = Finding(
    "negative values were stored as unsigned numbers, so air lies near 64512",
    "convert it again as signed numbers, or subtract 65536 from all values above 32767",
)
NORMALISED = Finding(
    "the values are scaled to a small range, so they are no Hounsfield units",
    "give the volume as it was before, or say --modality mr if it is MR",
)
MASKED = Finding(
    "the values around the body are 0, and those of dark tissue lie below: one cannot be told from the other",
    "give the volume as it was before it was scaled",
)
GREY_VALUES = Finding(
    "the values are a picture's, 0 to 255, and no Hounsfield units",
    "convert it again from the original, or say --modality mr if it is MR",
)
INVERTED = Finding("the values are inverted: air is brighter than the body", "convert it again, or negate the values")
TENFOLD = Finding("the values are ten times Hounsfield units", "divide them by 10")
NO_TISSUE = Finding("there is no tissue in it, only air or padding", "give a volume that shows a body")
LABEL_MAP = Finding("this is a label map or scribbles, no image", "move it out of the images folder")


def judge_values(array: np.ndarray) -> Finding | None:
    """What is odd about the values of a volume; None if they can be those of a CT.

    Args:
        array: (X, Y, Z) numbers, all finite, not all equal. About 100 000 of them are looked at.
    """
    grid = _sampled(array)
    values = np.sort(grid, axis=None)
    if _share(values, 60000, 65535) >= BULK and values[-1] <= 65535 and _share(values, 33000, 60000) < FEW:
        return WRAPPED
    if is_label_map(array, values):
        return LABEL_MAP
    low, high = _quantile(values, FEW), _quantile(values, 1 - FEW)
    if low == high:
        return NO_TISSUE
    if high - low < NORMALISED_SPAN and _is_fractional(values):
        return NORMALISED
    if _is_inverted(grid, values):
        return INVERTED
    if _share(values, -10700, -7000) >= BULK and high > 3100:  # bone; in right CT only metal lies above
        return TENFOLD
    offset = _offset(values)
    if offset is not None:
        return offset
    return _judge_hu(values, float(array.max()))


def judge_mr_values(array: np.ndarray) -> Finding | None:
    """What is odd about the values of a volume that should be MR: its scale is free, so that little can be.

    Args:
        array: see `judge_values`.
    """
    values = np.sort(_sampled(array), axis=None)
    if is_label_map(array, values):
        return LABEL_MAP
    low, high = _quantile(values, FEW), _quantile(values, 1 - FEW)
    if low == high:
        return NO_TISSUE
    scaled = high - low < NORMALISED_SPAN and _is_fractional(values)  # a mean of 0, say
    if scaled and _has_background_within(values):
        return MASKED
    if not scaled and _share(values, -np.inf, -FAR_BELOW * _quantile(values, 0.9)) >= BULK / 2:
        return CT_LIKE
    return None


def _has_background_within(values: np.ndarray) -> bool:
    """Whether the most common value is a background's by its share, with a bulk of the (n,) values below and above."""
    levels, counts = np.unique(values, return_counts=True)
    common = levels[np.argmax(counts)]
    sides = np.mean(values < common), np.mean(values > common)
    return bool(counts.max() >= BACKGROUND_SHARE * len(values) and min(sides) >= BULK)


def is_label_map(array: np.ndarray, values: np.ndarray) -> bool:
    """Whether a volume holds few whole values, none negative, and neighbours mostly have the same.

    Args:
        array: (X, Y, Z) numbers.
        values: some of them, sorted; what they rule out is not looked at further.
    """
    if values[0] < 0 or _is_fractional(values) or len(np.unique(values)) > MOST_LABELS:
        return False
    values, counts = np.unique(array, return_counts=True)
    if values[0] < 0 or _is_fractional(values) or len(values) > MOST_LABELS:
        return False
    background = values[np.argmax(counts)]
    equal = pairs = 0
    for axis in range(3):
        first, second = np.moveaxis(array, axis, 0)[:-1], np.moveaxis(array, axis, 0)[1:]
        both = (first != background) & (second != background)
        pairs += int(np.count_nonzero(both))
        equal += int(np.count_nonzero(both & (first == second)))
    return equal >= EQUAL_NEIGHBOURS * pairs


def _judge_hu(values: np.ndarray, highest: float) -> Finding | None:
    """Once no mistake of conversion is known: HU, a window of them, or MR?

    Args:
        values: some of the volume's, sorted, with padding.
        highest: of all its values.
    """
    if _share(values, AIR_HU, np.inf) < FEW:
        return NO_TISSUE
    values = values[values >= PADDING_HU]
    lowest, bright = float(values[0]), _quantile(values, 0.9)
    at_bottom, at_top = float(np.mean(values == lowest)), float(np.mean(values[values > lowest] == highest))
    painted = len(np.unique(values)) <= PAINTED_VALUES  # a phantom without noise
    top_is_cut = at_top >= ATOM and highest < HELD_HU[1] and not painted
    if _share(values, -np.inf, -ZERO_SHARE / 3 * bright) < BULK / 2:  # neither fat nor the noise around water
        zeros = _share(values, 0, ZERO_SHARE * bright) >= ATOM
        if zeros and at_bottom >= ATOM and lowest == 0 and round(highest) == 255:
            return GREY_VALUES
        dense = _quantile(values, BULK) > HELD_HU[1] and _quantile(values, 0.5) > 2 * HELD_HU[1]
        if dense or (zeros and not top_is_cut):
            return MR_LIKE
    if top_is_cut or (at_bottom >= ATOM and lowest > HELD_HU[0]):
        return Finding(
            f"the values are clipped to {lowest:g} to {highest:g}, so that tissues look alike",
            f"it is used as it is; better give the volume as it was, or clipped to no less than {HELD_HU[0]:g} to "
            f"{HELD_HU[1]:g}",
            usable=True,
        )
    return None


def _offset(values: np.ndarray) -> Finding | None:
    """Whether water lies at one of `OFFSETS`: soft tissue there, and hardly anything that is denser than lung below."""
    unpadded = values[values > values[0]]  # the lowest value is padding, if there is any
    for water in OFFSETS:
        body = values[values > water + LUNG_HU]
        soft, dense_lung = _share(body, *(water + SOFT_TISSUE_HU)), _share(body, -np.inf, water + SOFT_TISSUE_HU[0])
        if len(body) < BULK * len(values) or soft < 0.5 or dense_lung > soft / 4:
            continue
        air = water - 1000 + NOISE_HU
        below, at_air = _share(unpadded, -np.inf, air[0]), _share(unpadded, *air)
        if below >= BULK if water > 0 else at_air < BULK:  # -1024 is where air lies, unless there is more below
            continue
        if _share(values, *RIGHT_TISSUE_HU) > 2 * soft * len(body) / len(values):  # tissue is right, bone at the offset
            continue
        action = f"subtract {water:g}" if water > 0 else f"add {-water:g}"
        return Finding(
            f"the values are shifted: water lies near {water:g} instead of 0",
            f"convert it again with its rescale intercept, applied once, or {action}",
        )
    return None


def _is_inverted(grid: np.ndarray, values: np.ndarray) -> bool:
    """Whether what surrounds the body is among the brightest: right CT has air there, a crop of it tissue."""
    faces = np.concatenate([grid[[0, -1]].ravel(), grid[:, [0, -1]].ravel()])
    border, low, high = float(np.median(faces)), _quantile(values, BULK), _quantile(values, 1 - BULK)
    bright = high - 0.1 * (high - low)
    picture = values[0] >= 0 and round(values[-1]) == 255
    return (border >= DENSE_HU or picture) and border >= bright and 0.1 <= _share(values, bright, np.inf) < 1 - BULK


def _sampled(array: np.ndarray) -> np.ndarray:
    """Some voxels of each axis."""
    return array[tuple(slice(None, None, max(1, size // SAMPLES_PER_AXIS)) for size in array.shape)]


def _share(values: np.ndarray, low: float, high: float) -> float:
    """Of sorted values, those from `low` to `high`."""
    first, last = np.searchsorted(values, low, "left"), np.searchsorted(values, high, "right")
    return float(last - first) / max(1, len(values))


def _quantile(values: np.ndarray, share: float) -> float:
    """Of sorted values."""
    return float(values[round(share * (len(values) - 1))])


def _is_fractional(values: np.ndarray) -> bool:
    return bool(np.count_nonzero(values != np.rint(values)) >= BULK * len(values))
