"""What the segmentation network labels: volumes of a folder that are good enough."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.failures import stops_every_case
from scripts.common.files import write_nifti
from scripts.common.names import some_of
from scripts.common.sharing.crew import Outcome, outcomes, value_or_reason
from scripts.common.work_folder import LabelFolder
from scripts.data.gate.admission import admit, left_out_lines, verdict_lines
from scripts.data.gate.hand_over import hold
from scripts.data.gate.modality import AS_CT, CT, Modality
from scripts.data.volume_io import find_volumes, is_plain_nifti, refuse_images_among_results, source_files

logger = logging.getLogger(__name__)

MOST_NAMES = 10


def _is_older(label: Path, source: Path) -> bool:
    """Whether a label map was written before its image, or the image's entry, last changed.

    It has no record that names the image's content. Whoever puts another file in a name's place brings that file's own
    time along, but not that of the entry (ctime).
    """
    written_ns = label.stat().st_mtime_ns
    return any(written_ns < max(stat.st_mtime_ns, stat.st_ctime_ns) for stat in map(Path.stat, source_files(source)))


@dataclass(frozen=True)
class AdmittedVolumes:
    """What of some volumes can be segmented.

    Attributes:
        items: [{"image", "case"}].
        warnings: case -> sentences, of those that the user should look at.
        left_out: case -> why.
    """

    items: list[dict[str, str]]
    warnings: dict[str, tuple[str, ...]]
    left_out: dict[str, BundleError]

    def tell(self) -> None:
        """Log what is not simply good."""
        for message in (*left_out_lines(self.left_out), *verdict_lines(self.warnings)):
            logger.warning("%s", message)


@dataclass(frozen=True)
class _AdmitJob:
    """Reads one volume after the other; what is no good volume comes back as the reason why."""

    output_dir: Path
    modality: Modality

    def start(self) -> Callable[[Any], tuple[str, tuple[str, ...]] | BundleError]:
        return self._admitted

    def _admitted(self, item: tuple[str, Path]) -> tuple[str, tuple[str, ...]] | BundleError:
        """The file to segment, and what the user should know of the volume."""
        case, path = item
        try:
            volume, image = admit(path, modality=self.modality), path
        except BundleError as error:
            if stops_every_case(error):
                raise
            return error
        if not is_plain_nifti(path):
            image = self.output_dir / "images" / f"{case}.nii.gz"
            write_nifti(image, volume.array, volume.affine)
        hold(image, volume.array)
        return str(image), volume.remarks


def admit_volumes(
    volumes: Mapping[str, Path],
    output_dir: str | Path,
    modality: Modality = AS_CT,
    each: Callable[[Iterable[Outcome]], Iterable[Outcome]] = iter,
) -> AdmittedVolumes:
    """Read every volume through the gate; what is no plain NIfTI is converted to `output_dir/images/ID.nii.gz`.

    Values stay what they are, those of MR too.

    Args:
        volumes: case -> file.
        output_dir: where conversions go.
        modality: what all of them should be.
        each: goes through the cases, and may say how far it is.

    Raises:
        BundleError: a conversion cannot be written.
    """
    found: dict[str, Any] = {}
    job = _AdmitJob(Path(output_dir), modality)
    with closing(outcomes(job, {case: (case, file) for case, file in volumes.items()})) as read:
        for outcome in each(read):
            found[outcome.case] = value_or_reason(outcome)
    left_out = {case: found[case] for case in volumes if isinstance(found[case], BundleError)}
    good = {case: found[case] for case in volumes if case not in left_out}
    return AdmittedVolumes(
        items=[{"image": image, "case": case} for case, (image, _) in good.items()],
        warnings={case: remarks for case, (_, remarks) in good.items() if remarks},
        left_out=left_out,
    )


def inference_items(
    dataset_dir: str | Path,
    output_dir: str | Path,
    skip_existing: bool = False,
    pattern: str = "*",
    modality: str = CT,
) -> list[dict[str, str]]:
    """Volumes of a folder as [{"image", "case"}], each through the gate (see `admit_volumes`), which logs its verdict.

    Args:
        dataset_dir: folder of volumes (see `find_volumes`).
        output_dir: where label maps go.
        skip_existing: leave out cases whose label map is there and not older than their image.
        pattern: what the volumes' file names look like, as in a shell.
        modality: "ct" or "mr", as the network was trained on.

    Raises:
        BundleError: no volume is usable; or label maps, or converted images, would take the volumes' place.
    """
    refuse_images_among_results(Path(dataset_dir), Path(output_dir), ("images",), "inference")
    labels = LabelFolder(Path(output_dir))
    volumes = {case: path for case, path in find_volumes(dataset_dir).items() if fnmatch(path.name, pattern)}
    done = {case: path for case, path in volumes.items() if skip_existing and labels.label(case).is_file()}
    older = {case: path for case, path in done.items() if _is_older(labels.label(case), path)}
    if older:
        names = some_of(list(older), MOST_NAMES)
        logger.warning("label maps that are older than their images, and made again: %s", names)
    todo = {case: path for case, path in volumes.items() if case not in done or case in older}
    admitted = admit_volumes(todo, output_dir, Modality(modality))
    admitted.tell()
    if not admitted.items and len(todo) == len(volumes):
        raise BundleError(
            "there is no volume to segment", stage="inference", file=dataset_dir, expected="volumes", found="none"
        )
    return admitted.items
