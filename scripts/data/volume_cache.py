"""The cache of volumes at the working spacing: what is there, whether it still fits its source, making it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from scripts.common.affines import spacing_of
from scripts.common.boxes import slabs_of
from scripts.common.errors import BundleError
from scripts.common.files import read_json, remove_file, sha256_of_file, sha256_of_settings, write_nifti
from scripts.common.made_of import fingerprint as made_of
from scripts.common.made_of import is_whole, write_record
from scripts.common.work_folder import CacheFolder, WorkFolder
from scripts.data.case import Case
from scripts.data.gate.modality import AS_CT, CT, MR, Modality
from scripts.data.gate.values import CT_LIKE, MR_LIKE
from scripts.data.intensity import find_body, normalise_hu
from scripts.data.mr.standard_units import in_standard_units
from scripts.data.resampling import canonical, resample, resampled_shape
from scripts.data.volume_io import Volume, check_grid, is_nifti, is_plain_nifti, peek_grid, source_files

logger = logging.getLogger(__name__)

VERSION = 5  # raise it when the same source would be cached differently
# Of the images that stages read, by modality: raise it when label maps made of them before have to be made again.
IMAGE_VERSIONS = {CT: 1, MR: 2}
HU_RANGE = (-1024.0, 3071.0)  # padding below and metal above carry no anatomy


@dataclass(frozen=True)
class CachedCase:
    """A case whose cache is complete, and a fingerprint of its canonical voxels (equal for copies in other formats).

    Attributes:
        warnings: what the user should know about the volume.
        looks_like: "ct" or "mr", by its header or its values, whatever it was taken for.
    """

    case: Case
    voxels: str
    warnings: tuple[str, ...] = ()
    looks_like: str = CT


@dataclass(frozen=True)
class VolumeCache:
    """`OUTPUT/cache`: for each case the files of `CacheFolder`; the record says what they were made of."""

    output_dir: Path
    spacing_mm: tuple[float, float, float]
    modality: Modality = AS_CT

    @property
    def files(self) -> CacheFolder:
        """Where they lie."""
        return WorkFolder(self.output_dir).cache

    def find(self, case_id: str, source: Path) -> CachedCase | None:
        """The cached case if it was made of this source at this spacing and its files are whole, else None.

        The source is only read if its path, or a file's size or time changed.
        """
        record = self.files.record(case_id)
        try:
            content = read_json(record)
            warnings = tuple(content["warnings"])
            cached = CachedCase(Case.from_json(content["case"]), content["voxels"], warnings, _looks_like(content))
            inputs, stamp = content["inputs"], content["stamp"]
        except (BundleError, KeyError, TypeError, ValueError):
            if self.files.image(case_id).exists():
                logger.warning("%s is missing or damaged, reading the volume again", record)
            return None
        if not self.modality.given and cached.looks_like != self.modality.name:
            return None  # it was used because the user said so, and now nobody does
        if inputs != self._inputs():
            logger.info("%s: the resolution, the modality or the version changed, reading the volume again", case_id)
            return None
        image = source if cached.case.image == cached.case.source else self._converted(case_id)
        if not is_whole(record, inputs):
            return None
        try:
            mark = source_mark(source)  # before the source is read: what changes later shows
            if stamp == mark and cached.case.image == image:
                return cached
            changed = cached.case.sha256 != image_fingerprint(source, self.modality)
        except OSError:  # told when the volume is read
            return None
        if changed:
            logger.info("%s: the source changed, reading the volume again", case_id)
            return None
        moved = replace(cached, case=replace(cached.case, source=source, image=image))
        self._write_record(moved, mark)
        return moved

    def is_touched(self, case: Case) -> bool:
        """Whether the case's source is another file, or changed, since it was cached, as far as anything says so.

        Or another image was cached meanwhile, by a process that was killed before it could say so.
        """
        try:
            content = read_json(self.files.record(case.id))
            return bool(content["stamp"] != source_mark(case.source) or content["case"]["sha256"] != case.sha256)
        except (BundleError, KeyError, TypeError, OSError):
            return False

    def known_modality(self, case_id: str, source: Path) -> str | None:
        """Whether the source is "ct" or "mr", if it was cached and did not change since."""
        try:
            content = read_json(self.files.record(case_id))
            if content["stamp"] != source_mark(source):
                return None
            return _looks_like(content)
        except (BundleError, KeyError, TypeError, OSError):
            return None

    def described(self, case_id: str, source: Path, present: CachedCase | Volume) -> Case:
        """The case that is cached, or that `stored` will cache; nothing is written.

        Args:
            case_id: its name.
            source: the input.
            present: what `find` found, or else the source's content.
        """
        if isinstance(present, CachedCase):
            return present.case
        image = source
        if self.modality.is_mr or not is_plain_nifti(source):
            image = self._converted(case_id)
        return Case(
            id=case_id,
            image=image,
            source=source,
            shape=present.array.shape,
            spacing_mm=present.spacing_mm,
            affine=tuple(tuple(row) for row in present.affine.tolist()),
            orientation="".join(nib.aff2axcodes(present.affine)),
            sha256=image_fingerprint(source, self.modality),
        )

    def stored(self, case: Case, present: CachedCase | Volume) -> CachedCase:
        """The case in the cache, which is filled if need be; what is no NIfTI is converted. See `described`.

        An MR is converted, too, to standard units: whoever reads the case's image reads it as if it were CT.

        Raises:
            BundleError: the source changed since it was read, or a file cannot be written.
        """
        if isinstance(present, CachedCase):
            return present
        mark = source_mark(case.source)
        if present.source_mark is not None and present.source_mark != mark:
            raise BundleError(
                "the volume changed while it was read",
                case=case.id,
                stage="cohort",
                file=case.source,
                expected="a source that is complete; run the same command again once it is",
            )
        _forget_flat_files(self.files.path)
        remove_file(self.files.record(case.id))  # so that a kill leaves nothing that looks complete
        if self.modality.is_mr:
            present = in_standard_units(present, self.modality.bias_correction)
        upright = canonical(present)
        small = at_spacing(upright, self.spacing_mm)
        body = find_body(small.array, spacing_of(small.affine))
        write_nifti(self.files.body(case.id), body.mask.astype(np.uint8), small.affine)
        write_nifti(self.files.image(case.id), normalise_hu(small.array), small.affine)
        if case.image != case.source:
            write_nifti(case.image, _compact(present.array), present.affine)
        looks_like = _kind(present, self.modality.name)
        remarks = (*present.remarks, *body.remarks)
        cached = CachedCase(case, _voxel_fingerprint(upright.array), remarks, looks_like)
        self._write_record(cached, mark)
        return cached

    def missing_bytes(self, sources: Mapping[str, Path]) -> int:
        """Estimate of what caching (and converting) these sources will still write; unreadable ones count nothing."""
        total = 0
        for case_id, source in sources.items():
            if self.files.record(case_id).exists():
                continue
            try:
                shape, affine = peek_grid(source)
                check_grid(source, shape[:3], affine)
            except Exception as error:  # reported when the volume is read
                logger.debug("%s: no size to estimate from: %s", source, error)
                continue
            voxels = resampled_shape(shape[:3], spacing_of(affine), self.spacing_mm)
            converted = 4 if self.modality.is_mr else 0 if is_nifti(source) else 2
            total += 5 * int(np.prod(voxels)) + converted * int(np.prod(shape))
        return total

    def _converted(self, case_id: str) -> Path:
        return WorkFolder(self.output_dir).images / f"{case_id}.nii.gz"

    def _inputs(self) -> str:
        """Fingerprint of what decides how a source is cached; the source itself is recognised by its stamp."""
        inputs: dict[str, Any] = {"version": VERSION, "spacing_mm": self.spacing_mm}
        if self.modality.is_mr:
            inputs |= {"modality": MR, "bias_correction": self.modality.bias_correction}
        return made_of([inputs, *versions] if (versions := _later_version(self.modality)) else inputs)

    def _write_record(self, cached: CachedCase, mark: list[Any]) -> None:
        case = cached.case
        content: dict[str, Any] = {"stamp": mark, "voxels": cached.voxels, "case": case.to_json()}
        content |= {"warnings": cached.warnings, "looks_like": cached.looks_like}
        files = [self.files.image(case.id), self.files.body(case.id)]
        files += [case.image] if case.image != case.source else []
        write_record(self.files.record(case.id), content, self._inputs(), files)


def _kind(volume: Volume, taken_for: str) -> str:
    """Whether an admitted volume is "ct" or "mr", by its header or what the gate said of its values."""
    if volume.modality.lower() in (CT, MR):
        return volume.modality.lower()
    said = {CT_LIKE.sentence: CT, MR_LIKE.sentence: MR}
    return next((kind for sentence, kind in said.items() if sentence in volume.remarks), taken_for)


def _looks_like(content: Mapping[str, Any]) -> str:
    """What a record says that the volume is; before 0.4.0 all was CT, with a warning where it looked like MR."""
    suspicious = any(sentence.startswith(MR_LIKE.problem) for sentence in content["warnings"])
    return str(content.get("looks_like", MR if suspicious else CT))


def _forget_flat_files(cache: Path) -> None:
    """Remove the cache of 0.3.0, `ID.nii`, `ID_body.nii` and `ID.json`, as far as records say that it is one."""
    for record in cache.glob("*.json"):
        with suppress(BundleError, KeyError, TypeError):
            content = read_json(record)
            if content["case"]["id"] == record.stem:
                for file in (cache / f"{record.stem}.nii", cache / f"{record.stem}_body.nii", record):
                    remove_file(file)


def at_spacing(volume: Volume, spacing_mm: Sequence[float]) -> Volume:
    """A volume of HU or in standard units, canonical, clipped to what the networks tell apart and resampled."""
    return resample(volume, spacing_mm, HU_RANGE)


def fingerprint(source: Path) -> str:
    """SHA-256 of a source's bytes, whether one file or several."""
    digests = [sha256_of_file(path) for path in source_files(source)]
    return digests[0] if len(digests) == 1 else sha256_of_settings(digests)


def image_fingerprint(source: Path, modality: Modality) -> str:
    """Of the source's bytes; where the same bytes make another image, of that choice and how it is done, too."""
    choices = [MR, modality.bias_correction] if modality.is_mr else []
    choices += _later_version(modality)
    return sha256_of_settings([fingerprint(source), *choices]) if choices else fingerprint(source)


def _later_version(modality: Modality) -> list[int]:
    """The images' version unless it is the first, whose fingerprints name none."""
    version = IMAGE_VERSIONS[MR if modality.is_mr else CT]
    return [] if version == 1 else [version]


def source_mark(source: Path) -> list[Any]:
    """What changes when a source is replaced, without reading it."""
    stats = [path.stat() for path in source_files(source)]
    # A copy may bring its time along (mtime), but not the moment that it came (ctime).
    each = [(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats]
    return [str(source), len(stats), sha256_of_settings(each)]


def _compact(hu: np.ndarray) -> np.ndarray:
    """int16 if that loses nothing."""
    limits = np.iinfo(np.int16)
    integral = limits.min <= hu.min() and hu.max() <= limits.max and np.array_equal(hu, np.rint(hu))
    return hu.astype(np.int16) if integral else hu


def _voxel_fingerprint(hu: np.ndarray) -> str:
    """SHA-256 of shape and whole-HU values; copies in another format or axis order have the same."""
    digest = sha256(str(hu.shape).encode())
    for slab in slabs_of([slice(0, size) for size in hu.shape]):
        digest.update(np.clip(np.rint(hu[slab]), -32768, 32767).astype(np.int16, order="C"))
    return digest.hexdigest()
