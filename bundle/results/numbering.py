"""Which value a class has in a folder of label maps, by the table of results that tells of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from bundle.results.table_reader import rows_if_whole, table_of

logger = logging.getLogger(__name__)


def predicted_values(folder: Path, classes: Mapping[str, int]) -> dict[str, int]:
    """Class -> value in the folder's label maps, of those that have another one than `classes` says; these are told.

    The table lies beside the label maps, as `infer` writes it, or in the folder above, as a run does.
    """
    beside, above = (table_of(place) for place in (folder, folder.parent))
    values = _values_in(beside, folder) or _values_in(above, folder)
    others = {name: value for name, value in values.items() if name in classes and classes[name] != value}
    if others:
        said = ", ".join(f"{name} {value}" for name, value in others.items())
        logger.warning("%s: its table of results says %s; --predicted-classes says otherwise", folder, said)
    return others


def _values_in(table: Path, folder: Path) -> dict[str, int]:
    """Class -> value, by the table's rows of label maps in the folder; none without a table, or if it is damaged."""
    rows = (row for row in rows_if_whole(table) if row.label_map.parent.resolve() == folder.resolve())
    return {row.class_name: row.label for row in rows}
