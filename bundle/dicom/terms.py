"""What a class is called in SNOMED CT; a private code for what has no name there, or none that we know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from scripts.common.files import read_json

TABLE = Path(__file__).with_name("codes.json")
SNOMED_CT, PRIVATE = "SCT", "99ONESHOT"
SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
PAIRED = {  # whose plural means both sides
    "kidneys", "lungs", "adrenals", "adrenal glands", "optic nerves", "eyes", "lenses", "parotids", "parotid glands",
    "submandibulars", "submandibular glands", "femoral heads", "femurs",
}  # fmt: skip
LONGEST_CODE, LONGEST_MEANING = 16, 64  # what DICOM can hold


@dataclass(frozen=True)
class Term:
    """A coded term: code, coding scheme, meaning."""

    code: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Anatomy:
    """What a class is, and on which side; `side` is None where the name tells none."""

    structure: Term
    side: Term | None = None


ANATOMICAL_STRUCTURE = Term("91723000", SNOMED_CT, "Anatomical Structure")


def anatomy_of(name: str) -> Anatomy:
    """The coded term of a class's name, in English, as "left_kidney", "Kidney, left", "kidney_l" or "kidneys"."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    sides = {SIDES[word] for word in words if word in SIDES}
    plain = " ".join(word for word in words if word not in SIDES)
    table = _table()
    term = table["terms"].get(table["spellings"].get(plain, plain))
    if term is None or len(sides) > 1:
        return Anatomy(_private(name))
    side = next(iter(sides), "both" if plain in PAIRED else None)
    return Anatomy(Term(term[0], SNOMED_CT, term[1]), None if side is None else Term(*_coded(table["sides"][side])))


def _coded(entry: list[str]) -> tuple[str, str, str]:
    return entry[0], SNOMED_CT, entry[1]


def _private(name: str) -> Term:
    """The name itself where it can be a code, else its fingerprint, so that a name has one code in all files."""
    code = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    if len(code) > LONGEST_CODE or code.lower() != name.lower():
        code = sha256(name.encode()).hexdigest()[:LONGEST_CODE].upper()
    return Term(code, PRIVATE, name[:LONGEST_MEANING])


@lru_cache(1)
def _table() -> Any:
    return read_json(TABLE)
