"""What the network is worth beside the labels that it learned from, by class and case (mode `default`).

No truth is needed. If two segmentations err independently, they agree as far as both are right: network * label. How
good the label is says the self-check, so that the agreement tells how good the network is: in this case as far as the
label is good, beyond that in all cases of the cohort together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from scripts.common.errors import BundleError


@dataclass(frozen=True)
class WorthSettings:
    """From worth to weight.

    Attributes:
        network_share: weight of a network that has learned a class. It counts as one more atlas, no more: it errs
            where the labels err that it learned from.
        least_worth: Dice of the network, as a share of the labels' own, up to which it has no weight.
        full_worth: Dice of the network, as a share of the labels' own, from which on it has all of its weight.
        worth_doubt: agreement that counts against the network before any is seen, in cases with a perfect label.
        match_volumes: each class of the network is brought to the volume that the atlases' probabilities have of it.
    """

    network_share: float = 0.33
    least_worth: float = 0.5
    full_worth: float = 0.75
    worth_doubt: float = 0.25
    match_volumes: bool = True

    def __post_init__(self) -> None:
        limits = {
            "network_share": (0, 1),
            "least_worth": (0, 1),
            "full_worth": (self.least_worth + 1e-6, np.inf),
            "worth_doubt": (0, np.inf),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise BundleError(
                    f"{name} is out of range", stage="ensemble", expected=f"{least} to {most}", found=value
                )


@dataclass(frozen=True)
class ClassAgreement:
    """One class of one case.

    Attributes:
        label: predicted Dice of the pseudo label, before anything that lowers it for the network as well.
        agreement: Dice of the network's own label map with it.
    """

    label: float
    agreement: float


def network_worth(cases: Iterable[ClassAgreement], doubt: float = 0.0) -> float:
    """Dice of the network with the truth for one class, over all cases: least squares of agreement = worth * label.

    Args:
        cases: how good their labels are and how far the network agrees.
        doubt: see `WorthSettings`; without good labels nothing is known of the network, and it is worth nothing.
    """
    known = list(cases)
    weight = doubt + sum(case.label**2 for case in known)
    return min(1.0, sum(case.label * case.agreement for case in known) / weight) if weight else 0.0


def label_worth(cases: Iterable[ClassAgreement]) -> float:
    """Dice of the labels with the truth for one class: mean over all cases, weighted as for `network_worth`."""
    labels = [case.label for case in cases]
    return sum(label**2 for label in labels) / sum(labels) if any(labels) else 0.0


def worth_in_case(case: ClassAgreement, worth: float) -> float:
    """Dice of the network with the truth for one class of one case: agreement / label where the label is perfect, the
    worth in all cases where it is worthless, in between their mean, weighted by how good the label is."""
    return min(1.0, case.agreement + (1 - case.label) * worth)


def class_shares(cases: Mapping[str, ClassAgreement], settings: WorthSettings) -> dict[str, float]:
    """Case -> weight of the network's probabilities of one class; the labels' have the rest.

    The network's worth is compared with the labels', in all cases together and in this one: the lower part counts.
    Labels that are worth nothing give the network nothing to be measured by, and no weight; poor ones measure it
    poorly, but there is little to lose.

    Args:
        cases: case -> how good its label is and how far the network agrees.
        settings: see `WorthSettings`.
    """
    known = list(cases.values())
    worth, of_labels = network_worth(known, settings.worth_doubt), label_worth(known)
    together = worth / of_labels if of_labels else 0.0

    def share(case: ClassAgreement) -> float:
        alone = worth_in_case(case, worth) / case.label if case.label else np.inf
        learned = (min(together, alone) - settings.least_worth) / (settings.full_worth - settings.least_worth)
        return settings.network_share * float(np.clip(learned, 0, 1))

    return {name: share(case) for name, case in cases.items()}


def network_shares(
    cases: Mapping[str, Mapping[str, ClassAgreement]], settings: WorthSettings
) -> dict[str, dict[str, float]]:
    """Case -> class -> weight of the network.

    Args:
        cases: case -> class -> how good its label is and how far the network agrees.
        settings: see `WorthSettings`.
    """
    names = dict.fromkeys(name for classes in cases.values() for name in classes)
    by_class = {
        name: class_shares({case: classes[name] for case, classes in cases.items() if name in classes}, settings)
        for name in names
    }
    return {case: {name: by_class[name][case] for name in classes} for case, classes in cases.items()}


def class_dice(first: np.ndarray, second: np.ndarray, classes: Mapping[str, int]) -> dict[str, float]:
    """Class -> Dice of two (X, Y, Z) maps of label values below 256; 0, not 1, where both lack it: nothing is no
    evidence."""
    pairs = np.bincount(first.ravel().astype(np.int64) * 256 + second.ravel(), minlength=256 * 256).reshape(256, 256)
    sizes = pairs.sum(axis=1) + pairs.sum(axis=0)
    return {name: float(2 * pairs[value, value] / max(int(sizes[value]), 1)) for name, value in classes.items()}
