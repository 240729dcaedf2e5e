"""The terms of networks that a run began with: what was learned from their labels is bound by them, too."""

from __future__ import annotations

from pathlib import Path

from bundle.pipeline.configs import BUNDLE_ROOT
from bundle.pipeline.modes import SHIPPED

HEADING = "Networks that this one was made with"


def with_terms_of_start_weights(own_terms: str, weights: Path | None, shipped: Path = SHIPPED) -> str:
    """A text on a network's data and its terms, and those of the networks that its labels came from.

    Args:
        own_terms: on the images that it was trained on.
        weights: folder of the networks that located the labels, as `--weights` of the run had it; None if the run
            trained them on its own images.
        shipped: where named sets of weights live; of any other set nothing is known.
    """
    if weights is None:
        return own_terms
    weights, shipped = weights.resolve(), shipped.resolve()
    if weights.is_relative_to(shipped):
        name = weights.relative_to(shipped).parts[0]
        about = (
            f"Its labels were located by networks of the set {name}, trained on other images. The terms of these hold "
            "for it, too. They are below, with those of the other sets.\n\n"
        ) + (BUNDLE_ROOT / "docs" / "data_license.txt").read_text(encoding="utf-8")
    else:
        about = (
            "Its labels were located by networks out of another folder, which may have been trained on other images. "
            "The terms of those hold for it, too.\n"
        )
    return f"{own_terms.rstrip()}\n\n{HEADING}\n{'=' * len(HEADING)}\n\n{about}"
