"""From a release to a zip that keeps the zoo's rules."""

from __future__ import annotations

import shutil
from pathlib import Path

from bundle.packaging.assembly import assemble
from bundle.packaging.release import STAGE, Release
from bundle.packaging.rules import broken_rules
from bundle.packaging.trials import failed_trials
from scripts.common.errors import BundleError


def package(release: Release, output: Path, task: Path | None = None, schema: Path | None = None) -> Path:
    """Write `OUTPUT/NAME/` and `OUTPUT/NAME.zip` and hold both against the zoo's rules.

    Args:
        release: name, version and what a README must say.
        output: folder for folder and zip; what it holds under these names is replaced.
        task: output folder of `oneshot`, whose network is shared; None for the one in `models/`.
        schema: file of the metadata's schema, also checked if given.

    Returns:
        The zip.

    Raises:
        BundleError: something is missing, or the finished folder breaks a rule; it then stays to be looked at.
    """
    folder = assemble(release, output, task)
    problems = broken_rules(folder, schema) or failed_trials(folder)
    if problems:
        raise BundleError(
            "the package breaks the zoo's rules",
            stage=STAGE,
            file=folder,
            expected="no broken rule",
            found="\n    " + "\n    ".join(problems),
        )
    archive = shutil.make_archive(str(folder), "zip", root_dir=output, base_dir=folder.name)
    return Path(archive)
