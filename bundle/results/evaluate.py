"""`python -m bundle evaluate`: scores of a folder of label maps."""

from __future__ import annotations

import argparse

from bundle.results.numbering import predicted_values
from scripts.common.case_stage import joined
from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.data.stroke_classes import parse_classes
from scripts.quality.evaluation import STAGE, evaluate_folder, format_table


def run(options: argparse.Namespace) -> None:
    """Print a row a class, and write all scores where `--json` says.

    Raises:
        BundleError: cases that cannot be compared; the others are scored before.
    """
    failed: dict[str, BundleError] = {}
    classes, given = parse_classes(options.classes), options.predicted_classes
    predicted = predicted_values(options.predictions, classes) if given is None else parse_classes(given)
    result = evaluate_folder(options.predictions, options.labels, classes, failed=failed, predicted_classes=predicted)
    if options.json is not None:
        write_json(options.json, result)
    print(format_table(result))
    if failed:
        raise joined(failed, STAGE, len(failed) + len(result["cases"]))
