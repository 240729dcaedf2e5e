"""One rival, one pair of volumes, in a process of its own: `python -m ...pair METHOD FIXED MOVING LABEL OUTPUT`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk

from bundle.benchmark.measure.stopwatch import measured
from bundle.benchmark.rivals import convex_adam
from bundle.benchmark.rivals.data_aug import segmenter
from scripts.common.files import atomic_path, write_json

Warp = Callable[[Path, Path, Path, Path], None]


def _convex_adam(fixed: Path, moving: Path, label: Path, output: Path) -> None:
    query, support, given = (sitk.ReadImage(str(file)) for file in (fixed, moving, label))
    sitk.WriteImage(convex_adam.warp_label(query, support, given), str(output))


def _elastix(fixed: Path, moving: Path, label: Path, output: Path) -> None:
    """elastix's own settings: rigid, affine, B-spline (Klein et al. 2010)."""
    import itk

    volumes = [itk.imread(str(file), itk.F) for file in (fixed, moving)]
    settings = itk.ParameterObject.New()
    for name in ("rigid", "affine", "bspline"):
        settings.AddParameterMap(settings.GetDefaultParameterMap(name))
    _, found = itk.elastix_registration_method(*volumes, parameter_object=settings, log_to_console=False)
    for step in range(found.GetNumberOfParameterMaps()):
        found.SetParameter(step, "FinalBSplineInterpolationOrder", "0")
    warped = itk.transformix_filter(itk.imread(str(label), itk.F), found)
    itk.imwrite(warped.astype(itk.UC), str(output))


def _syn(fixed: Path, moving: Path, label: Path, output: Path) -> None:
    """antspyx's own settings: affine, then SyN (Avants et al. 2008), on cubic voxels as convexadam's."""
    import ants

    spacing = (convex_adam.SPACING_MM,) * 3
    query, support = (ants.image_read(str(file)) for file in (fixed, moving))
    coarse = [ants.resample_image(volume, spacing, use_voxels=False, interp_type=0) for volume in (query, support)]
    found = ants.registration(*coarse, type_of_transform="SyN", random_seed=1)
    warped = ants.apply_transforms(
        query, ants.image_read(str(label)), found["fwdtransforms"], interpolator="nearestNeighbor"
    )
    ants.image_write(warped.clone("unsigned char"), str(output))


def _data_aug(fixed: Path, moving: Path, label: Path, output: Path) -> None:
    """By the network that lies where the label map goes; it learnt from `label` before."""
    sitk.WriteImage(segmenter.segment(fixed, moving, output.parent), str(output))


METHODS: dict[str, Warp] = {"convexadam": _convex_adam, "elastix": _elastix, "SyN": _syn, "DataAug": _data_aug}


def main(arguments: list[str]) -> None:
    """Warp, write the label map, then beside it what that took."""
    method, fixed, moving, label, output = arguments[0], *map(Path, arguments[1:])
    with atomic_path(output) as temporary:
        cost = measured(lambda: METHODS[method](fixed, moving, label, temporary))
    taken = {"seconds": cost["wall_s"], "cpu_seconds": cost["cpu_s"], "peak_memory_mb": cost["peak_mb"]}
    write_json(output.with_name(output.name.replace(".nii.gz", ".json")), taken)


if __name__ == "__main__":
    main(sys.argv[1:])
