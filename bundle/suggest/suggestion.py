"""What `suggest.json` says, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.common.files import read_json
from scripts.registration.centrality_stage import MADE_AGAIN

COLUMNS = ("", "volume", "like the others", "field shown", "")
NONE_WHOLE = "No volume shows the whole field that most of the others show; the fullest one is proposed."


@dataclass(frozen=True)
class RankedVolume:
    """One volume.

    Attributes:
        case: its name.
        similarity: to the others.
        field_shown: share of the field that most of the others show.
        proposed: whether it should be scribbled.
        shows_field: whether it shows as much of it as a proposed volume should.
    """

    case: str
    similarity: float
    field_shown: float
    proposed: bool
    shows_field: bool

    @property
    def verdict(self) -> str:
        """Whether it is proposed, or why not."""
        if self.proposed:
            return "proposed"
        return "less like the others" if self.shows_field else "shows too little of the field that most volumes show"


def read_suggestion(file: Path) -> list[RankedVolume]:
    """All volumes, the best to scribble first.

    Raises:
        BundleError: the file is missing or damaged.
    """
    content = read_json(file, MADE_AGAIN)
    return [
        RankedVolume(
            case=case,
            similarity=one["similarity"],
            field_shown=one["field_shown"],
            proposed=case in content["proposed"],
            shows_field=one["field_shown"] >= content["least_field"],
        )
        for case, one in content["cases"].items()
    ]


def rows(ranking: list[RankedVolume]) -> list[tuple[str, str, str, str, str]]:
    """Of a table: see `COLUMNS`."""
    return [
        (str(place), one.case, f"{one.similarity:.3f}", f"{one.field_shown:.0%}", one.verdict)
        for place, one in enumerate(ranking, start=1)
    ]


def text_table(ranking: list[RankedVolume]) -> str:
    """For the console."""
    lines = [COLUMNS, *rows(ranking)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
