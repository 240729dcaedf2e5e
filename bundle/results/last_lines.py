"""What a command says at its end: what was made, and what to look at first."""

from __future__ import annotations

from collections.abc import Iterator

from bundle.results.table import LEFT_OUT, UNLABELLED, ResultRow, ResultTable
from scripts.common.names import how_many

MOST_NAMED = 3


def last_lines(table: ResultTable) -> list[str]:
    """A line on what was made, and some on what to look at first: the worst predicted, else what was remarked."""
    labelled = [row for row in table.rows if row.admission != LEFT_OUT]
    cases = {row.case for row in labelled}
    left_out = len(table.rows) - len(labelled)
    classes = how_many(len({row.class_name for row in labelled}), "class", "classes")
    made = f"made: {how_many(len(cases), 'label map')}, {classes} each"
    if left_out:
        made += f"; {how_many(left_out, 'volume')} left out, see the table of results"
    checked = [row for row in labelled if row.predicted_dice is not None and row.role == UNLABELLED]
    if checked:
        made += f"; {sum(bool(row.flagged) for row in checked)} of {len(checked)} organs are flagged"
    found = list(_worst(checked) if checked else _remarked(labelled))
    named = [f"look at first: {line}" for line in found[:MOST_NAMED]]
    if len(found) > MOST_NAMED and not checked:
        named.append(f"and at {len(found) - MOST_NAMED} more")
    return [made, *(named or ["look at first: any of them, no Dice is predicted here"])]


def _worst(rows: list[ResultRow]) -> Iterator[str]:
    """From the lowest predicted Dice on."""
    for row in sorted(rows, key=lambda row: (row.predicted_dice or 0.0, row.case, row.label or 0)):
        low, high = row.interval or (0.0, 0.0)
        why = f": {row.reasons[0]}" if row.reasons else ""
        yield f"{row.case}, {row.class_name}, predicted Dice {row.predicted_dice:.2f} ({low:.2f} to {high:.2f}){why}"


def _remarked(rows: list[ResultRow]) -> Iterator[str]:
    """Cases with remarks; then classes that no voxel has."""
    yield from dict.fromkeys(f"{row.case}: {row.remarks[0]}" for row in rows if row.remarks)
    for row in rows:
        if row.volume_ml == 0 and not row.remarks:
            yield f"{row.case}, {row.class_name}: not found"
