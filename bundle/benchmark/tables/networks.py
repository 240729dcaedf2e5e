"""Tables of trained networks, held against the fully supervised one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundle.benchmark.results import ENSEMBLE, ONE_SHOT, PSEUDO_LABELS, SUPERVISED, Results
from bundle.benchmark.tables.bootstrap import change, worst_dice
from bundle.benchmark.tables.markdown import NOTHING, number, table

NETWORK_WORDS = {
    PSEUDO_LABELS: "pseudo labels",
    ONE_SHOT: "network trained on them",
    ENSEMBLE: "network and atlases together",
    SUPERVISED: "network, fully supervised",
}


def network_table(results: Results) -> str:
    """A row of every network that was measured."""
    classes = list(results.head["classes"])
    bound = results.get("network", SUPERVISED)
    rows = []
    for name, words in NETWORK_WORDS.items():
        if (line := results.get("network", name)) is None:
            continue
        scores = line["scores"]
        share, difference = NOTHING, NOTHING
        if bound is not None and name in (ONE_SHOT, ENSEMBLE):
            share = number(scores["mean_dice"] / bound["scores"]["mean_dice"])
            difference = change([scores], [bound["scores"]])
        rows.append([words, *dice_cells(scores, classes), share, difference])
    return table(["", *classes, "mean", "worst", "of the supervised", "difference from it"], rows)


def dice_cells(scores: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Of every class, their mean, and the worst of any case and class."""
    values = [*(scores["classes"][name]["dice_mean"] for name in classes), scores["mean_dice"], worst_dice([scores])]
    return list(map(number, values))
