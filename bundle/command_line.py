"""Command line: each command is a thin driver of the configs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle.benchmark import ablation, default, limits, networks, paper
from bundle.demo import run_demo
from bundle.monai_label.launch import launch
from bundle.packaging import Release, package
from bundle.pipeline.inference import infer_folder
from bundle.pipeline.localisation import LOCALISATIONS, weights_folder
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import DEFAULT_MODE, FILE_NAME, RunSettings, saved_settings
from bundle.report import write_report
from scripts.common.errors import BundleError
from scripts.common.files import write_json
from scripts.data.stroke_classes import parse_classes
from scripts.quality.evaluation import evaluate_folder, format_table

logger = logging.getLogger("bundle")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a problem the user can act on is printed as one error, exit status 2."""
    options = _parser().parse_args(arguments)
    _set_up_logging(options.verbose)
    try:
        options.run(options)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)


def _oneshot(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options)
    pipeline.run()
    print(f"label maps: {pipeline.output / 'predictions'}\nreport: {pipeline.report(options.labels)}")


def _support_mask(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options, minimum_cases=1)
    pipeline.localisation.grow_support_mask(pipeline)
    print(f"support mask: {pipeline.localisation.support_mask(pipeline)}\nreport: {pipeline.report(options.labels)}")


def _propagate(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options)
    pipeline.propagate()
    print(f"pseudo labels: {pipeline.output / 'pseudo_labels'}\nreport: {pipeline.report(options.labels)}")


def _train(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options)
    pipeline.train_segmentation()
    pipeline.infer()
    print(f"label maps: {pipeline.output / 'predictions'}\nreport: {pipeline.report(options.labels)}")


def _infer(options: argparse.Namespace) -> None:
    infer_folder(options.images, options.model, options.output, options.device)
    print(f"label maps: {options.output}")


def _evaluate(options: argparse.Namespace) -> None:
    result = evaluate_folder(options.predictions, options.labels, parse_classes(options.classes))
    if options.json is not None:
        write_json(options.json, result)
    print(format_table(result))


def _report(options: argparse.Namespace) -> None:
    print(f"report: {write_report(options.output, options.labels)}")


def _package(options: argparse.Namespace) -> None:
    release = Release(
        options.name, options.version, options.change, options.authors, options.data_terms, options.large_files_url
    )
    print(f"package: {package(release, options.output, options.task, options.schema)}")


def _monai_label(options: argparse.Namespace) -> None:
    settings = {"small": str(not options.full).lower(), "set": ";".join(options.set)}
    if options.weights is not None:
        settings["weights"] = options.weights
    launch(options.studies, options.app, options.port, settings)


def _demo(options: argparse.Namespace) -> None:
    run_demo(options.output)


def _benchmark(options: argparse.Namespace) -> None:
    if options.name == "limits":
        limits.run(options.dataset, options.page)
    elif options.name == "default":
        default.run(*_benchmark_arguments(options), options.ship, options.out_of_distribution)
    elif options.name == "networks":
        networks.run(options.dataset, options.output, options.page, options.device, options.ship)
    elif options.name == "ablation":
        ablation.run(*_benchmark_arguments(options))
    else:
        paper.run(*_benchmark_arguments(options), options.ship)


def _benchmark_arguments(options: argparse.Namespace) -> tuple[Path, Path | None, Path, bool, str | None]:
    return options.dataset, options.output, options.page, not options.full, options.device


def _pipeline(options: argparse.Namespace, minimum_cases: int = 2) -> Pipeline:
    if options.labels is not None and not options.labels.is_dir():
        raise BundleError("the labels folder is missing", stage="report", file=options.labels, expected="a folder")
    pipeline = Pipeline(_settings(options), minimum_cases)
    cohort, settings = pipeline.cohort, pipeline.settings
    print(f"support: {cohort.support}; cases: {len(cohort.cases)}; classes: {cohort.classes}")
    print(f"background strokes: {cohort.background}; mode: {settings.mode}{', small' if settings.small else ''}")
    return pipeline


def _settings(options: argparse.Namespace) -> RunSettings:
    """What the options say; `train` takes what they leave open from the output folder."""
    names = ("images", "support", "scribbles", "support_mask", "accepted", "classes", "background", "mode", "device")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    saved = saved_settings(options.output) if options.from_output else {}
    mode = options.mode or saved.get("mode", DEFAULT_MODE)
    if (weights := _weights(options, mode)) is not None:
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
    small = options.small or saved.get("small", False)
    return RunSettings(
        **saved | given | {"mode": mode, "output": options.output, "small": small, "overrides": overrides}
    )


def _weights(options: argparse.Namespace, mode: str) -> Path | None:
    if options.weights is not None:
        return weights_folder(options.weights, mode)
    return weights_folder(str(options.output), mode) if options.needs_weights else None


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bundle", description="One scribbled CT volume in, a segmentation network out."
    )
    parser.add_argument("--verbose", action="store_true", help="log everything the libraries say")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    oneshot = commands.add_parser("oneshot", help="the whole method: train, propagate, segment, report")
    _add_run_options(oneshot)
    oneshot.set_defaults(run=_oneshot, needs_weights=False)

    support_mask = commands.add_parser(
        "support-mask",
        aliases=["region"],
        help="the support's whole organs as they grow from its strokes, to look at; no training",
    )
    _add_run_options(support_mask)
    support_mask.set_defaults(run=_support_mask, needs_weights=False)

    propagate = commands.add_parser("propagate", help="scribbles into every volume with trained networks; no training")
    _add_run_options(propagate)
    propagate.set_defaults(run=_propagate, needs_weights=True)

    train = commands.add_parser("train", help="segmentation network from the pseudo labels in the output folder")
    _add_run_options(train, from_output=True)
    train.set_defaults(run=_train, needs_weights=False)

    infer = commands.add_parser("infer", help="label maps of new volumes with a trained segmentation network")
    infer.add_argument("--images", type=Path, required=True, help="folder of volumes")
    infer.add_argument("--model", type=Path, required=True, help="folder with model.pt and model.json")
    infer.add_argument("--output", type=Path, required=True, help="folder for the label maps")
    infer.add_argument("--device", help="such as cpu or cuda:0")
    infer.set_defaults(run=_infer)

    evaluate = commands.add_parser("evaluate", help="Dice, HD95 and surface Dice against label maps")
    evaluate.add_argument("--predictions", type=Path, required=True)
    evaluate.add_argument("--labels", type=Path, required=True)
    evaluate.add_argument("--classes", required=True, help='such as "spleen:1,liver:6"')
    evaluate.add_argument("--json", type=Path, help="write the result there")
    evaluate.set_defaults(run=_evaluate)

    report = commands.add_parser("report", help="write the report of an output folder again")
    report.add_argument("--output", type=Path, required=True)
    report.add_argument("--labels", type=Path, help="folder of true label maps, to show them beside the results")
    report.set_defaults(run=_report)

    packaged = commands.add_parser("package", help="a folder and a zip for the MONAI model zoo, checked by its rules")
    packaged.add_argument("--name", required=True, help="such as spleen_ct_segmentation")
    packaged.add_argument("--output", type=Path, required=True, help="folder for the package's folder and zip")
    packaged.add_argument("--task", type=Path, help="output folder of `oneshot`: share its network, not the bundle's")
    packaged.add_argument("--version", help="such as 0.2.0; default: that of configs/metadata.json")
    packaged.add_argument("--change", help="line of the changelog for a new version")
    packaged.add_argument("--authors", help="who made it")
    packaged.add_argument("--data-terms", type=Path, help="text on the images it was trained on, and their terms")
    packaged.add_argument("--large-files-url", help="where files above 25 MB will lie, should there be any")
    packaged.add_argument("--schema", type=Path, help="file of the metadata's schema, to check against it too")
    packaged.set_defaults(run=_package)

    server = commands.add_parser("monai-label", help="a MONAI Label server; `make monai-label` sets its environment up")
    server.add_argument("--studies", type=Path, required=True, help="folder of CT volumes, NIfTI")
    server.add_argument("--app", type=Path, default=Path("runs/monai_label"), help="folder for all that it leaves")
    server.add_argument("--port", type=int, default=8000, help="on 127.0.0.1")
    server.add_argument("--weights", help="as for oneshot: the anatomy need not be learnt first")
    server.add_argument("--full", action="store_true", help="the full configuration instead of the small one")
    server.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="as for oneshot")
    server.set_defaults(run=_monai_label)

    demo = commands.add_parser("demo", help="the whole method on an embedded synthetic cohort")
    demo.add_argument("--output", type=Path, default=Path("demo"))
    demo.set_defaults(run=_demo)

    benchmark = commands.add_parser("benchmark", help="measure the method, or the limits on time and memory")
    benchmark.add_argument("name", choices=["paper", "default", "networks", "ablation", "limits"])
    benchmark.add_argument("--dataset", type=Path, required=True, help="folder with dataset.json")
    benchmark.add_argument("--output", type=Path, help="work directory; default runs/paper_DATASET or default_DATASET")
    benchmark.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"), help="page to write the tables to")
    benchmark.add_argument(
        "--full", action="store_true", help="paper, default, ablation: the full configuration instead of the small one"
    )
    benchmark.add_argument("--device", help="such as cpu or cuda:0")
    benchmark.add_argument("--ship", action="store_true", help="copy the trained networks to models/")
    benchmark.add_argument(
        "--out_of_distribution", type=Path, help="default: a dataset of another body part, to be flagged"
    )
    benchmark.set_defaults(run=_benchmark)
    return parser


def _add_run_options(parser: argparse.ArgumentParser, from_output: bool = False) -> None:
    parser.set_defaults(from_output=from_output)
    parser.add_argument("--images", type=Path, required=not from_output, help="folder of volumes")
    parser.add_argument("--support", type=Path, required=not from_output, help="the scribbled volume")
    parser.add_argument("--scribbles", type=Path, required=not from_output, help="its scribbles, on its grid")
    parser.add_argument("--output", type=Path, required=True, help="work directory; run again to continue")
    parser.add_argument("--classes", help='such as "spleen:1,left_kidney:3,liver:6"')
    parser.add_argument("--background", type=int, help="value of the background strokes")
    parser.add_argument(
        "--mode",
        choices=list(LOCALISATIONS),
        help=f"the method's configuration, {DEFAULT_MODE} unless given",
    )
    parser.add_argument("--small", action="store_true", help="a configuration for two CPU cores")
    parser.add_argument("--device", help="such as cpu or cuda:0; default: a GPU if there is one")
    parser.add_argument("--weights", help="a shipped set of weights by name, or a folder of weights")
    parser.add_argument(
        "--support-mask",
        "--region",
        type=Path,
        help="mode default: the support's whole organs as you corrected them, on its grid",
    )
    parser.add_argument(
        "--accepted",
        type=Path,
        help="mode default: folder of label maps ID.nii.gz that you corrected; each helps the rest",
    )
    parser.add_argument("--labels", type=Path, help="folder of true label maps, shown in the report, used nowhere else")
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="change a config key of a stage"
    )


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
