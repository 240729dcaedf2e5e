"""What the segmentation network's writer notes beside a label map, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.data.records import read_record

VOLUME_DIGITS = 3


@dataclass(frozen=True)
class LabelMapRecord:
    """About one label map.

    Attributes:
        case: identifier.
        warnings: what is implausible about it.
        volume_ml: label value -> volume, of the values that occur; None in records of older versions.
    """

    case: str
    warnings: tuple[str, ...] = ()
    volume_ml: Mapping[int, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields; no entry where there is nothing to warn of."""
        volumes = {} if self.volume_ml is None else self.volume_ml
        return {
            "case": self.case,
            **({"warnings": list(self.warnings)} if self.warnings else {}),
            "label_volume_ml": {str(value): round(volume, VOLUME_DIGITS) for value, volume in volumes.items()},
        }

    @classmethod
    def read(cls, file: str | Path) -> LabelMapRecord:
        """Raises BundleError if the file is missing or damaged."""
        return read_record(file, cls._from_json)

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> LabelMapRecord:
        volumes = content.get("label_volume_ml")
        return cls(
            case=str(content["case"]),
            warnings=tuple(str(sentence) for sentence in content.get("warnings", ())),
            volume_ml=None if volumes is None else {int(value): float(volume) for value, volume in volumes.items()},
        )
