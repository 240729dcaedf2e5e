"""Which image something was drawn on: another may have taken a study's place under the same name."""

from __future__ import annotations

from pathlib import Path

from scripts.common.files import sha256_of_file


def is_drawn_on(noted: str | None, image: str | Path) -> bool:
    """Whether something was drawn on this image, by the hash that was noted then; where none was, it counts."""
    return noted is None or noted == sha256_of_file(image)


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

    Args:
        folder: of the study.
        image: the study's file.
    """
    file = folder / f"drawn_{sha256_of_file(image)[:16]}.nii.gz"
    if not file.exists() and any(folder.glob("drawn_*.nii.gz")):
        tell_replaced(folder.name, "look")
    return file
