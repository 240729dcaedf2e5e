"""`python -m tests.campaign`: tries to break the software; what was survived and what was lost goes to the docs."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bundle.benchmark.command import keep_campaign
from bundle.pipeline import inference, pipeline  # noqa: F401 - imported before the first fork
from tests.campaign import damages, hostile, kills, volumes
from tests.campaign.runs import Runs, make_cohort, oneshot
from tests.campaign.trials import Trial, expect_end, run, tried

PARTS = (kills.PART, damages.PART, hostile.PART, volumes.PART)


def main() -> None:
    """Run the parts and print every trial; with `--docs` the table of results follows."""
    options = _options()
    folder = options.output.absolute()
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for part in options.parts:
        start, trials = time.monotonic(), []
        for trial in _trials(part, folder, options):
            trials.append(trial)
            print(f"{part}: {trial.name}: {trial.outcome or 'LOST: ' + trial.lost}", flush=True)
        seconds = round(time.monotonic() - start)
        print(f"{part}: {len(trials)} tried, {sum(bool(trial.lost) for trial in trials)} lost, {seconds} s", flush=True)
        if options.docs is not None:
            keep_campaign(options.docs, summary(part, trials, seconds))


def summary(part: str, trials: list[Trial], seconds: int) -> dict[str, object]:
    """The raw result of a part."""
    outcomes: dict[str, int] = {}
    for trial in trials:
        if not trial.lost:
            kind = trial.outcome.partition(" after ")[0]
            outcomes[kind] = outcomes.get(kind, 0) + 1
    return {
        "what": "part",
        "name": part,
        "tried": len(trials),
        "kills": sum(kills.kills_of(trial.outcome) for trial in trials) if part == kills.PART else None,
        "survived": outcomes,
        "lost": [[trial.name, trial.lost] for trial in trials if trial.lost],
        "seconds": seconds,
    }


def _trials(part: str, folder: Path, options: argparse.Namespace) -> Iterator[Trial]:
    attempts = {
        kills.PART: lambda: kills.attempts(_runs(folder), folder, options.kills, options.seed),
        damages.PART: lambda: damages.attempts(_cohort(folder), _finished(folder), options.damages, options.seed),
        hostile.PART: hostile.attempts,
        volumes.PART: volumes.attempts,
    }[part]()
    yield from tried(part, islice(attempts, 0, None, options.every), folder)


def _cohort(folder: Path) -> Path:
    return make_cohort(folder / "cohort")


def _finished(folder: Path) -> dict[str, Path]:
    """Mode -> the output of a run that nothing disturbed."""
    outputs = {mode: folder / "finished" / mode / "out" for mode in ("default", "paper")}
    for mode, output in outputs.items():
        output.parent.mkdir(parents=True, exist_ok=True)
        expect_end(run(oneshot(_cohort(folder), output, mode), output.parent))
    return outputs


def _runs(folder: Path) -> Runs:
    return Runs(_cohort(folder), _finished(folder)["paper"] / "segmentation")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/campaign"), help="emptied first")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--kills", type=int, default=80, help="planned; a run may end before one")
    parser.add_argument("--damages", type=int, default=60, help="how many kinds are drawn")
    parser.add_argument("--every", type=int, default=1, help="one of so many trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, help="folder of results.md, to be written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
