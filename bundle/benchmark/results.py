"""Raw results: `docs/benchmarks/COHORT/KIND.jsonl`, one JSON object a line, one line for each thing that was measured.

Every line has `what` and `name`, together unique in a file, and `made`: when, by which version, on which machine. The
first line, the head, says on which data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import BundleError
from scripts.common.files import atomic_path

Line = Mapping[str, Any]
HEAD = "head"
MADE = "made"
FOLDER = "benchmarks"  # below docs/
PAPER_FULL = "paper_full"  # kind of what `benchmark paper --full` measures; the small one's stays beside it
PAPERS_RULES = "papers_rules"  # kind of what `benchmark paper --papers-rules` measures
AS_GROWN, ACCEPTED = "as grown", "accepted"  # whence a run's support mask: from its strokes, or given by the user
ALL_CLASSES, ALL_CLASSES_NETWORK = "all_classes", "all_classes_network"  # sorts of lines: every class at once
ALL_CLASSES_FURTHER = "all_classes_further"  # sort of lines: every class at once, from the other supports
PAINTED = "painted"  # sort of lines: every class at once, painted whole on a few slices
RIVAL = "rival"  # sort of lines: registration by another package
PROCEDURE = "procedure"  # sort of lines: the paper's public procedure, in time
EVERYTHING = "everything on"  # the ablation's row that the others are compared with
# Networks, and what they are compared with, by the names of their lines.
PSEUDO_LABELS, ONE_SHOT, ENSEMBLE, SUPERVISED = "pseudo_labels", "one_shot", "ensemble", "supervised"


@dataclass(frozen=True)
class Results:
    """What was measured of one kind on one cohort.

    Attributes:
        lines: the head first, the others as they were first measured.
    """

    lines: tuple[Line, ...] = ()

    @property
    def head(self) -> Line:
        """On which data; empty while nothing was measured."""
        heads = self.of(HEAD)
        return heads[0] if heads else {}

    def of(self, what: str) -> list[Line]:
        """All lines of a sort, in order."""
        return [line for line in self.lines if line["what"] == what]

    def get(self, what: str, name: str) -> Line | None:
        """One line, None where it was not measured."""
        return next((line for line in self.of(what) if line["name"] == name), None)

    def including(self, line: Line) -> Results:
        """With a line, in the place of what was measured of the same thing before.

        A head of other data or another configuration drops all lines: they cannot stand beside those to come.
        """
        if line["what"] == HEAD and self.lines and _facts(line) != _facts(self.head):
            return Results((line,))
        places = [n for n, old in enumerate(self.lines) if (old["what"], old["name"]) == (line["what"], line["name"])]
        if not places:
            return Results((*self.lines, line))
        return Results((*self.lines[: places[0]], line, *self.lines[places[0] + 1 :]))


Cohort = Mapping[str, Results]  # kind -> what was measured of it


def result_line(what: str, name: str, **content: Any) -> dict[str, Any]:
    """A line that is not kept yet."""
    return {"what": what, "name": name, **content}


def results_file(docs: Path, cohort: str, kind: str) -> Path:
    """Where the raw results of a kind lie."""
    return docs / FOLDER / cohort / f"{kind}.jsonl"


def read_results(file: Path) -> Results:
    """Empty if there is no such file.

    Raises:
        BundleError: a line is damaged.
    """
    if not file.exists():
        return Results()
    lines = []
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            lines.append(line | {"what": line["what"], "name": line["name"]})
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"line {number} of the raw results is damaged", file=file, found=error) from error
    return Results(tuple(lines))


def write_results(file: Path, results: Results) -> None:
    """One line each, atomically; non-finite numbers are refused."""
    text = "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in results.lines)
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_cohorts(docs: Path) -> dict[str, dict[str, Results]]:
    """Cohort -> kind -> everything that was measured, in the order of names."""
    cohorts: dict[str, dict[str, Results]] = {}
    for file in sorted((docs / FOLDER).glob("*/*.jsonl")):
        cohorts.setdefault(file.parent.name, {})[file.stem] = read_results(file)
    return cohorts


def _facts(head: Line) -> dict[str, Any]:
    return {key: value for key, value in head.items() if key != MADE}
