"""`python -m tests.golden record|compare [--data DIR]`: results of the golden chain, written or held against those."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.common.files import read_json, write_json
from tests.golden.chain import miniature_cohort, phantom_cohort, real_pair, run_chain, run_miniature
from tests.golden.results import collect, collect_miniature, differences, machine
from tests.paths import DATA

HERE = Path(__file__).parent


def _run() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("--data", type=Path, default=DATA, help="folder with abdomen_ct; without it the phantoms alone")
    parser.add_argument("--only", choices=["miniature", "phantom", "abdomen_ct"], help="one of the runs")
    options = parser.parse_args()
    failed = 0
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = {"miniature": (miniature_cohort(folder / "small_phantoms"), run_miniature, collect_miniature)}
        runs["phantom"] = (phantom_cohort(folder / "phantoms"), run_chain, collect)
        if (options.data / "abdomen_ct").is_dir():
            runs["abdomen_ct"] = (real_pair(options.data), run_chain, collect)
        for name, (cohort, run, take) in runs.items():
            if options.only not in (None, name):
                continue
            run(cohort, folder / name)
            found = {"machine": machine(), **take(cohort, folder / name)}
            file = HERE / f"{name}.json"
            if options.action == "record":
                write_json(file, found)
                continue
            before = read_json(file)
            changed = differences(before, found)
            failed += len(changed)
            print(f"{name}: {len(before['hashes'])} hashes, {len(changed)} differences", *changed, sep="\n  ")
            if before["machine"] != found["machine"]:
                print(f"recorded on another machine: {before['machine']}, here {found['machine']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(_run())
