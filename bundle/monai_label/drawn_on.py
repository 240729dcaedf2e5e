"""Which image something was drawn on, or made of: another may have taken a study's place under the same name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from scripts.common.files import sha256_of_file

MOST_HASHES = 4096  # kept; a study that is looked at again is not read again
LOOK = "drawn_*.nii.gz"
EARLIER_LOOK = "drawn.nii.gz"  # of 0.4.0 and before: of an image that was not noted


def hash_of_image(image: str | Path) -> str:
    """SHA-256 of an image's file, which is read again only where its size or one of its times changed."""
    path = Path(image)
    stat = path.stat()
    return _hash(path.absolute(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=MOST_HASHES)
def _hash(path: Path, *stamp: int) -> str:
    return sha256_of_file(path)


def is_drawn_on(noted: str | None, image: str | Path) -> bool:
    """Whether something was drawn on this image, by the hash that was noted then; where none was, it counts."""
    return noted is None or noted == hash_of_image(image)


def is_older(image: str | Path, moment: float) -> bool:
    """Whether an image's file and its entry in the folder were last changed before a moment, in seconds of the epoch.

    What was made of it then needs no hash to be known as its own.
    """
    stat = Path(image).stat()
    return max(stat.st_mtime, stat.st_ctime) < moment


def tell_replaced(study: str, what: str) -> None:
    """Say that something is left out because of that.

    Args:
        study: whose image is another now.
        what: "label" or what else was drawn on the one before.
    """
    print(
        f"{study}: the {what} that was drawn on another image is left out; draw on the image as it is now", flush=True
    )


def look_file(folder: Path, image: str | Path) -> Path:
    """What was drawn on this image to see what grows from it; no other image's has this name.

    What an earlier version kept is taken for the first image that asks.

    Args:
        folder: of the study.
        image: the study's file.
    """
    file, earlier = folder / LOOK.replace("*", hash_of_image(image)[:16]), folder / EARLIER_LOOK
    if earlier.exists() and not any(folder.glob(LOOK)):
        earlier.replace(file)
    return file


def has_former_look(folder: Path) -> bool:
    """Whether something was drawn on another image of the study."""
    return any(folder.glob(LOOK))
