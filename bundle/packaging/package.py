"""From a release to a zip that keeps the zoo's rules."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from bundle.folder_lock import only_command_in
from bundle.packaging.assembly import assemble
from bundle.packaging.packages import Package
from bundle.packaging.release import STAGE, Release
from bundle.packaging.rules import broken_name, broken_rules
from bundle.packaging.trials import failed_trials
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.files import atomic_path

logger = logging.getLogger(__name__)

EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can hold
READABLE = 0o644


def package(release: Release, output: Path, task: Path | None = None, schema: Path | None = None) -> Path:
    """Write `OUTPUT/NAME/` and `OUTPUT/NAME.zip` and hold both against the zoo's rules.

    Args:
        release: name, version and what a README must say.
        output: folder for folder and zip; what an earlier call wrote there is replaced.
        task: output folder of `oneshot`, whose network is shared; None for the one in `models/`.
        schema: file of the metadata's schema, also checked if given.

    Returns:
        The zip.

    Raises:
        BundleError: something is missing or in the way, another command works there, or the finished folder breaks a
            rule; it then stays to be looked at. A name that breaks one is refused before anything is written.
    """
    with only_command_in(output), blamed(STAGE):
        return _packaged(release, output, task, schema)


def _packaged(release: Release, output: Path, task: Path | None, schema: Path | None) -> Path:
    _refuse(list(broken_name(output / release.name)), output / release.name)
    folder = assemble(release, output, task)
    logger.info("package: the files are in %s; now the zoo's rules", folder)
    _refuse(broken_rules(folder, schema) or failed_trials(folder), folder)
    archive = Package(output, release.name).archive
    logger.info("package: packing")
    with atomic_path(archive) as temporary:
        pack(folder, temporary)
    return archive


def _refuse(problems: list[str], folder: Path) -> None:
    if problems:
        raise BundleError(
            "the package breaks the zoo's rules",
            stage=STAGE,
            file=folder,
            expected="no broken rule",
            found="\n    " + "\n    ".join(problems),
        )


def pack(folder: Path, archive: Path) -> None:
    """Zip a folder under its own name; the same content gives the same bytes, whenever it was written."""
    with ZipFile(archive, "w") as packed:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = ZipInfo(file.relative_to(folder.parent).as_posix(), EARLIEST)
            entry.compress_type, entry.external_attr = ZIP_DEFLATED, READABLE << 16
            with file.open("rb") as content, packed.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(content, target)
