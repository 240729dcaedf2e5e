"""The ablation's page: mode `default` with one lever changed at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundle.benchmark.results import EVERYTHING, Line, Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.bootstrap import RESAMPLES, change
from bundle.benchmark.tables.markdown import number, table

SHARES = {2: "half", 3: "a third", 4: "a quarter"}


def ablation_section(results: Results) -> str:
    """Everything `benchmark ablation` measured on one cohort."""
    head, masks, networks = results.head, results.of("masks"), results.of("network")
    name, classes = head["name"], list(head["classes"])
    parts = [
        f"## {name}",
        f"{captions.command('ablation', name)}; {captions.data(results)}; {captions.SCORED}. Strokes a, support mask "
        "as grown. The change is the mean over volumes with its 95 % interval (paired bootstrap over volumes, "
        f"{RESAMPLES} resamples). {captions.raw(name, 'ablation')}",
    ]
    if masks:
        supports = list(dict.fromkeys(line["support"] for line in masks))
        words = f"**One-shot masks, one thing changed,** mean over the supports {', '.join(supports)}"
        parts += [f"{words}; {captions.origin(masks)}.", ablation_table(masks, classes)]
    if networks:
        share = SHARES.get(head["epoch_share"], f"one in {head['epoch_share']}")
        words = (
            f"**Networks trained on the pseudo labels** from `{head['support']}`, each, also the first, for {share} of "
            f"the epochs; {captions.origin(networks)}."
        )
        parts += [words, ablation_table(networks, classes)]
    return "\n\n".join(parts)


def ablation_table(lines: Sequence[Line], classes: Sequence[str]) -> str:
    """A row of fewer supports than the first has, compared with the same ones, names them."""
    variants: dict[str, dict[str, Mapping[str, Any]]] = {}
    for line in lines:
        variants.setdefault(line["variant"], {})[line["support"]] = line["scores"]
    whole = variants.get(EVERYTHING, {})
    rows = []
    for variant, supports in variants.items():
        scores = list(supports.values())
        means = [np.mean([one["classes"][name]["dice_mean"] for one in scores]) for name in classes]
        means.append(np.mean([one["mean_dice"] for one in scores]))
        same = [whole[support] for support in supports if support in whole]
        difference = "" if variant == EVERYTHING or len(same) < len(scores) else change(scores, same)
        words = variant if len(supports) == len(whole) else f"{variant} ({', '.join(supports)} only)"
        rows.append([words, *(number(float(mean)) for mean in means), difference])
    return table(["", *classes, "mean", "change"], rows)
