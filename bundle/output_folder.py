"""What an output folder may be: none that a command would spoil, or whose results it would read as volumes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from scripts.common.errors import BundleError
from scripts.common.made_of import is_record
from scripts.common.work_folder import WorkFolder


def refuse_run(output: Path, stage: str) -> None:
    """Refuse the output folder of a run to a command that would replace its table of results and its progress.

    Args:
        output: where results go.
        stage: for the message.

    Raises:
        BundleError: it holds a run; the record of a case that is called like a run's file is none.
    """
    work = WorkFolder(output.absolute())
    found = [file.name for file in (work.cohort, work.settings) if file.exists() and not is_record(file)]
    if found:
        raise BundleError(
            "the output folder is that of a run, whose table of results and progress would be replaced",
            stage=stage,
            file=output,
            expected="an output folder of its own",
            found=", ".join(found),
        )


def refuse_foreign(work: WorkFolder, given: Collection[Path] = ()) -> None:
    """Refuse a folder of somebody else's that holds what a run would replace.

    Args:
        work: the output folder.
        given: what the run reads and does not make; it may lie there.

    Raises:
        BundleError: nothing in it is certainly ours, but a file or folder has the name of a result.
    """
    bodies = [body for pattern in ("*/body.nii", "*_body.nii") for body in work.cache.path.glob(pattern)]
    if bodies or any(file.exists() for file in (work.cohort, work.settings, work.state)):
        return
    free = [work.cache.path, *(path for file in given for path in (file.absolute(), *file.absolute().parents))]
    foreign = [name for name in work.names() if (work.path / name).exists() and work.path / name not in free]
    if foreign:
        raise BundleError(
            "the output folder holds something of somebody else's that has the name of a result",
            stage="settings",
            file=work.path / foreign[0],
            expected="an empty folder, or the output folder of an earlier run",
            found=f"{', '.join(foreign)}, but no {work.cohort.name}",
        )
