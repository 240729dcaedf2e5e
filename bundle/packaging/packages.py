"""What an earlier `package` left in a folder: it may be replaced, anything else of these names may not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bundle.packaging.release import STAGE
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json


@dataclass(frozen=True)
class Package:
    """Where a package lies.

    Attributes:
        output: the folder that holds it.
        name: see `Release`.
    """

    output: Path
    name: str

    @property
    def folder(self) -> Path:
        """The package itself."""
        return self.output / self.name

    @property
    def archive(self) -> Path:
        """The same as one file."""
        return self.output / f"{self.name}.zip"

    @property
    def large_files(self) -> Path:
        """What is too large for the zoo."""
        return self.output / f"{self.name}_large_files"

    @property
    def record(self) -> Path:
        """Which files are ours; hidden, as it is no part of the package."""
        return self.output / f".{self.name}.json"

    def refuse_foreign(self) -> None:
        """Refuse to replace what we did not write.

        Raises:
            BundleError: under these names lies a file that the record does not name.
        """
        found = [path for path in (self.folder, self.archive, self.large_files) if path.exists() or path.is_symlink()]
        ours = self._recorded()
        foreign = [file for path in found for file in _files(path) if file not in ours]
        if foreign:
            raise BundleError(
                "the output folder holds files of the package's name that this command did not write",
                stage=STAGE,
                file=foreign[0],
                expected="another output folder or name; or move them away",
                found=f"{len(foreign)} such files",
            )

    def note(self, folder: Path, large_files: Path) -> None:
        """Write down which files are ours, before they get their place; those of earlier packages stay noted.

        Args:
            folder: what `folder` will be.
            large_files: what `large_files` will be.
        """
        new = {self.folder / file.relative_to(folder) for file in _files(folder)}
        new |= {self.large_files / file.relative_to(large_files) for file in _files(large_files)}
        names = {str(file.relative_to(self.output)) for file in {self.archive, *new, *self._recorded()}}
        write_json(self.record, {"package": self.name, "files": sorted(names)})

    def _recorded(self) -> set[Path]:
        if not self.record.exists():
            return set()
        try:
            return {self.output / name for name in read_json(self.record)["files"]}
        except (BundleError, KeyError, TypeError):
            return set()


def _files(path: Path) -> list[Path]:
    """What lies there: a file or link itself, or all files and links below a folder; an empty folder as itself."""
    if path.is_symlink() or not path.is_dir():
        return [path]
    below = sorted(file for file in path.rglob("*") if file.is_symlink() or not file.is_dir())
    return [file for file in below if "__pycache__" not in file.parts] or [path]
