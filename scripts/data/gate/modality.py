"""CT or MR: what a cohort's values are, and who says so."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.common.schema import CT, MR

__all__ = ["AS_CT", "AUTO", "CT", "MODALITIES", "MR", "Modality"]

AUTO = "auto"
MODALITIES = (AUTO, CT, MR)


@dataclass(frozen=True)
class Modality:
    """How a cohort's volumes are read.

    Attributes:
        name: "ct", values are Hounsfield units, or "mr", values are intensities without a unit.
        given: the user said so: a volume that looks like the other kind is used all the same, and told. Otherwise it is
            left out.
        bias_correction: whether the bias field of an MR is divided out.
    """

    name: str = CT
    given: bool = True
    bias_correction: bool = True

    @property
    def is_mr(self) -> bool:
        """Whether values have no unit."""
        return self.name == MR


AS_CT = Modality()
