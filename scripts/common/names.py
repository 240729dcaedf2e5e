"""Which names of cases and classes are taken: they become file names, keys of configs, and lines of reports."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

LONGEST_BYTES = 200  # of a case: file names have 255, and `.writing-PID-HOST-`, `_probabilities.nii.gz` are ours
LONGEST_CLASS = 100  # signs
MOST_ALIKE = 3  # names that a message proposes
RESERVED = ("", ".", "..", "made_of")  # a case `made_of` would share its record with the folder
UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")  # control signs, bytes that are no UTF-8, line breaks


def is_writable(text: str) -> bool:
    """Whether a text is one line that can be written as UTF-8."""
    return not any(unicodedata.category(sign) in UNWRITABLE for sign in text)


def is_case_name(name: object) -> bool:
    """Whether a case may have this identifier; `CASE_NAME` says it in words."""
    if not isinstance(name, str) or name in RESERVED or "/" in name or not is_writable(name):
        return False
    return len(name.encode()) <= LONGEST_BYTES


def is_class_name(name: object) -> bool:
    """Whether a class may have this name; `CLASS_NAME` says it in words.

    Keys and values of MONAI's configs that begin with another sign than a letter or digit can mean something else.
    """
    return isinstance(name, str) and 0 < len(name) <= LONGEST_CLASS and name[0].isalnum() and is_writable(name)


def some_of(names: Sequence[str], most: int) -> str:
    """The names, the first few of many and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def how_many(number: int, what: str, several: str = "") -> str:
    """Such as "1 volume", "2 volumes"; `several` where an s is not enough."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def in_ml(volume_ml: float) -> str:
    """A volume in words, such as "231 ml"; "empty" of nothing."""
    if volume_ml == 0:
        return "empty"
    return f"{volume_ml:{'.0f' if volume_ml >= 10 else '.1f' if volume_ml >= 0.1 else '.1g'}} ml"


def likely_names(name: str, names: Sequence[str], most: int) -> str:
    """Those of `names` that somebody who wrote `name` may have meant, the likeliest first; where none is, all of them.

    Capitals do not count. Of many the first few, and how many more there are.
    """
    folded: dict[str, str] = {}
    for one in names:
        folded.setdefault(one.casefold(), one)
    alike = [folded[one] for one in get_close_matches(name.casefold(), folded, MOST_ALIKE)]
    return some_of(alike or names, most)


CASE_NAME = f"a name of at most {LONGEST_BYTES} bytes in UTF-8, without control signs, / or line breaks, not made_of"
CLASS_NAME = f"a name of one line and at most {LONGEST_CLASS} signs that begins with a letter or digit"
