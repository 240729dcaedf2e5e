"""Command line: each command is a thin driver of the configs, and imports what it needs when it runs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundle.arguments import COMMAND_ALIASES, DEFAULT_MODE, command_parser
from scripts.common.errors import BundleError

if TYPE_CHECKING:
    from bundle.pipeline.pipeline import Pipeline
    from bundle.pipeline.settings import RunSettings

logger = logging.getLogger("bundle")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a problem the user can act on is printed as one error, exit status 2."""
    options = command_parser().parse_args(arguments)
    _set_up_logging(options.verbose)
    command = COMMAND_ALIASES.get(options.command, options.command)
    old_names = dict(options.old_names) | ({} if command == options.command else {options.command: command})
    for old, new in old_names.items():
        logger.warning("%s is called %s now; the old name works in this version for the last time", old, new)
    try:
        COMMANDS[command](options)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)


def _oneshot(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options)
    pipeline.run()
    print(f"label maps: {pipeline.work.predictions.path}\nreport: {pipeline.report(options.labels)}")


def _support_mask(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options, minimum_cases=1)
    pipeline.grow_support_mask()
    print(f"support mask: {pipeline.support_mask()}\nreport: {pipeline.report(options.labels)}")


def _propagate(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options, needs_weights=True)
    pipeline.propagate()
    print(f"pseudo labels: {pipeline.work.pseudo_labels.path}\nreport: {pipeline.report(options.labels)}")


def _train(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options)
    pipeline.train_segmentation()
    pipeline.infer()
    pipeline.self_check()
    print(f"label maps: {pipeline.work.predictions.path}\nreport: {pipeline.report(options.labels)}")


def _infer(options: argparse.Namespace) -> None:
    from bundle.pipeline.inference import infer_folder

    infer_folder(options.images, options.model, options.output, options.device)
    print(f"label maps: {options.output}")


def _evaluate(options: argparse.Namespace) -> None:
    from scripts.common.files import write_json
    from scripts.data.stroke_classes import parse_classes
    from scripts.quality.evaluation import evaluate_folder, format_table

    result = evaluate_folder(options.predictions, options.labels, parse_classes(options.classes))
    if options.json is not None:
        write_json(options.json, result)
    print(format_table(result))


def _report(options: argparse.Namespace) -> None:
    from bundle.report.page import write_report

    print(f"report: {write_report(options.output, options.labels)}")


def _package(options: argparse.Namespace) -> None:
    from bundle.packaging.package import package
    from bundle.packaging.release import Release

    release = Release(
        options.name, options.version, options.change, options.authors, options.data_terms, options.large_files_url
    )
    print(f"package: {package(release, options.output, options.task, options.schema)}")


def _monai_label(options: argparse.Namespace) -> None:
    from bundle.monai_label.launch import launch

    settings = {"small": str(not options.full).lower(), "set": ";".join(options.set)}
    if options.weights is not None:
        settings["weights"] = options.weights
    launch(options.studies, options.app, options.port, settings)


def _demo(options: argparse.Namespace) -> None:
    from bundle.demo import run_demo

    run_demo(options.output)


def _benchmark(options: argparse.Namespace) -> None:
    from bundle.benchmark import command

    command.run(options)


COMMANDS = {
    "oneshot": _oneshot,
    "support-mask": _support_mask,
    "propagate": _propagate,
    "train": _train,
    "infer": _infer,
    "evaluate": _evaluate,
    "report": _report,
    "package": _package,
    "monai-label": _monai_label,
    "demo": _demo,
    "benchmark": _benchmark,
}


def _pipeline(options: argparse.Namespace, minimum_cases: int = 2, needs_weights: bool = False) -> Pipeline:
    from bundle.pipeline.pipeline import Pipeline

    if options.labels is not None and not options.labels.is_dir():
        raise BundleError("the labels folder is missing", stage="report", file=options.labels, expected="a folder")
    pipeline = Pipeline(_settings(options, needs_weights), minimum_cases)
    cohort, settings = pipeline.cohort, pipeline.settings
    print(f"support: {cohort.support}; cases: {len(cohort.cases)}; classes: {cohort.classes}")
    print(f"background strokes: {cohort.background}; mode: {settings.mode}{', small' if settings.small else ''}")
    return pipeline


def _settings(options: argparse.Namespace, needs_weights: bool) -> RunSettings:
    """What the options say; `train` takes what they leave open from the output folder."""
    from bundle.pipeline.settings import FILE_NAME, RunSettings, saved_settings

    names = ("images", "support", "scribbles", "support_mask", "accepted", "classes", "background", "mode", "device")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    saved = saved_settings(options.output) if options.from_output else {}
    mode = options.mode or saved.get("mode", DEFAULT_MODE)
    small = options.small or saved.get("small", False)
    if (weights := _weights(options, mode, small, needs_weights)) is not None:
        given["weights"] = weights
    missing = [f"--{name}" for name in ("images", "support", "scribbles") if name not in saved | given]
    if missing:
        raise BundleError(
            "nothing was run in this output folder yet",
            stage="settings",
            file=options.output / FILE_NAME,
            expected="the file that `propagate` or `oneshot` leaves, or " + ", ".join(missing),
            found="no such file",
        )
    overrides = {stage: dict(values) for stage, values in saved.get("overrides", {}).items()}
    for stage, values in _overrides(options.set).items():
        overrides[stage] = overrides.get(stage, {}) | values
    return RunSettings(
        **saved | given | {"mode": mode, "output": options.output, "small": small, "overrides": overrides}
    )


def _weights(options: argparse.Namespace, mode: str, small: bool, needed: bool) -> Path | None:
    from bundle.pipeline.modes import weights_folder

    if options.weights is not None:
        return weights_folder(options.weights, mode, small)
    return weights_folder(str(options.output), mode, small) if needed else None


def _overrides(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """["segmentation.max_epochs=5"] -> {"segmentation": {"max_epochs": 5}}."""
    overrides: dict[str, dict[str, Any]] = {}
    for setting in settings:
        place, equals, text = setting.partition("=")
        stage, dot, key = place.partition(".")
        if not (equals and dot and key):
            raise BundleError("cannot read --set", stage="settings", expected="STAGE.KEY=VALUE", found=setting)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        overrides.setdefault(stage, {})[key] = value
    return overrides


class _Console(logging.Handler):
    """Prints what is logged to the standard output of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


def _set_up_logging(verbose: bool) -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _Console) for handler in root.handlers):
        root.addHandler(_Console())
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    for name in ("bundle", "scripts"):
        logging.getLogger(name).setLevel(logging.INFO)
    if not verbose:
        logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore")
