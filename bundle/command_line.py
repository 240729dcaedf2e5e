"""Command line: each command is a thin driver of the configs, and imports what it needs when it runs."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.arguments import AUTO, CHECKOUT, COMMAND_ALIASES, MODELS, SHIPPED_NETWORK, command_parser
from bundle.console import end_unread, set_up_logging
from bundle.folder_lock import only_command_in
from bundle.workers.command import workers_of
from scripts.common.errors import BundleError, UnexpectedError
from scripts.common.names import is_writable

if TYPE_CHECKING:
    from bundle.pipeline.pipeline import Pipeline

logger = logging.getLogger("bundle")

INTERRUPTED = 130  # exit status, as shells have it for SIGINT
LONG = ("oneshot", "propagate", "train")  # commands in which networks see whole cohorts
NO_GPU = (
    "no GPU is used here: the full configuration takes many hours on a CPU; --small is the configuration for two cores"
)


def main(arguments: Sequence[str] | None = None, program: str = CHECKOUT) -> None:
    """Run one command of the command line, which is called `program` here.

    Other processes are kept out of its output folder from before anything is read there until the command ends. A
    problem the user can act on is printed as one error, exit status 2; of a fault of the program, status 1, there is a
    traceback, too. Where nobody reads the output (`| head`), the command ends without a word.
    """
    try:
        try:
            _run(arguments, program)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        end_unread()
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run(arguments: Sequence[str] | None, program: str) -> None:
    options = command_parser(program).parse_args(arguments)
    set_up_logging(options.verbose)
    command = COMMAND_ALIASES.get(options.command, options.command)
    old_names = dict(options.old_names) | ({} if command == options.command else {options.command: command})
    for old, new in old_names.items():
        logger.warning("%s is called %s now; the old name works in this version for the last time", old, new)
    try:
        _check_texts(options)
        with _lock(command, options), workers_of(options):
            COMMANDS[command](options)
    except BrokenPipeError:
        raise
    except Exception as error:
        sys.exit(_explained(error, options.verbose))


def _explained(error: Exception, verbose: bool) -> int:
    """Print what went wrong; the exit status."""
    from scripts.common.failures import as_bundle_error

    problem = as_bundle_error(error)
    is_fault = isinstance(problem, UnexpectedError)
    if verbose or is_fault:
        traceback.print_exception(error)
    message = f"error: {problem}".encode(errors="backslashreplace").decode()  # a file may say anything
    print(message, file=sys.stderr)
    return 1 if is_fault else 2


def _lock(command: str, options: argparse.Namespace) -> AbstractContextManager[None]:
    """On the folder that the command writes to; none where `report` or `export` are to refuse one that is not there."""
    output = getattr(options, "output", None)
    if output is None or (command in ("report", "export") and not output.exists()):
        return nullcontext()
    return only_command_in(output)


def _check_texts(options: argparse.Namespace) -> None:
    """Refuse a path or name that no report could hold, before any work."""
    for name, value in vars(options).items():
        if isinstance(value, str | Path) and not is_writable(str(value)):
            raise BundleError(
                f"--{name.replace('_', '-')} cannot be worked with",
                stage="settings",
                expected="UTF-8 without control signs or line breaks",
                found=ascii(str(value)),
            )


def _oneshot(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options)
    _to_the_end(pipeline, options, pipeline.run)


def _suggest(options: argparse.Namespace) -> None:
    from bundle.suggest import command

    command.run(options)


def support_mask_pipeline(options: argparse.Namespace) -> Pipeline:
    """Of the command `support-mask`, which needs no volume but the support."""
    return _pipeline(options, minimum_cases=1)


def _support_mask(options: argparse.Namespace) -> None:
    from bundle.report.support import mask_lines

    pipeline = support_mask_pipeline(options)
    with pipeline.progress.whole():
        pipeline.grow_support_mask()
        report = pipeline.report(options.labels)
    print("\n".join([*mask_lines(options.output), f"support mask: {pipeline.support_mask()}", f"report: {report}"]))


def _propagate(options: argparse.Namespace) -> None:
    from bundle.results.final_labels import has_final_labels

    pipeline = _pipeline(options, needs_weights=True)
    with pipeline.progress.whole():
        pipeline.propagate()
        said = _leave_results(pipeline, options, final=has_final_labels(pipeline.work))  # the report says the same
    print(said)


def _train(options: argparse.Namespace) -> None:
    pipeline = _pipeline(options)
    _to_the_end(pipeline, options, pipeline.train)


def _infer(options: argparse.Namespace) -> None:
    from bundle.pipeline.inference import infer_folder
    from bundle.results.last_lines import last_lines

    is_shipped = options.model == Path(SHIPPED_NETWORK) and not options.model.exists()
    table = infer_folder(
        options.images,
        MODELS if is_shipped else options.model,
        options.output,
        options.device,
        modality=options.modality or AUTO,
        structure_sets=options.rtstruct,
    )
    print("\n".join(last_lines(table)))
    print(f"label maps and table of results: {options.output}")


def _export(options: argparse.Namespace) -> None:
    from bundle.dicom.command import export_folder

    labels = export_folder(options.output, options.dicom, options.rtstruct)
    print(f"DICOM segmentations: {labels.segmentations.path}")
    if options.rtstruct:
        print(f"RT structure sets: {labels.structure_sets.path}")


def _evaluate(options: argparse.Namespace) -> None:
    from bundle.results import evaluate

    evaluate.run(options)


def _report(options: argparse.Namespace) -> None:
    from bundle.output_folder import refuse_foreign
    from bundle.report.page import write_report
    from scripts.common.work_folder import WorkFolder

    refuse_foreign(WorkFolder(options.output))
    print(f"report: {write_report(options.output, options.labels, options.case)}")


def _package(options: argparse.Namespace) -> None:
    from bundle.packaging.package import package
    from bundle.packaging.release import Release
    from scripts.common.files import read_json

    release = Release(
        options.name, options.version, options.change, options.authors, options.data_terms, options.large_files_url
    )
    folder = package(release, options.output, options.task, options.schema)
    classes = read_json(folder / "models" / "model.json")["classes"]
    values = ", ".join(f"{value} {name}" for name, value in classes.items())
    print(f"label values in it: {values}\npackage: {folder}")


def _monai_label(options: argparse.Namespace) -> None:
    from bundle.monai_label import launch

    launch.run(options)


def _show_settings(options: argparse.Namespace) -> None:
    from bundle.pipeline.stages import STAGES
    from bundle.setting_list import as_lines, list_settings

    if options.stage is None:
        print("\n".join(STAGES[options.mode]))
        return
    print("\n".join(as_lines(options.stage, list_settings(options.stage, options.mode, options.small))))


def _demo(options: argparse.Namespace) -> None:
    from bundle.demo import run_demo

    run_demo(options.output)


def _benchmark(options: argparse.Namespace) -> None:
    from bundle.benchmark import command

    command.run(options)


COMMANDS = {
    "oneshot": _oneshot,
    "suggest": _suggest,
    "support-mask": _support_mask,
    "propagate": _propagate,
    "train": _train,
    "infer": _infer,
    "export": _export,
    "evaluate": _evaluate,
    "report": _report,
    "package": _package,
    "monai-label": _monai_label,
    "settings": _show_settings,
    "demo": _demo,
    "benchmark": _benchmark,
}


def _pipeline(options: argparse.Namespace, minimum_cases: int = 2, needs_weights: bool = False) -> Pipeline:
    from bundle.computing_device import uses_gpu
    from bundle.pipeline.given.run_options import run_settings
    from bundle.pipeline.pipeline import Pipeline

    if options.labels is not None and not options.labels.is_dir():
        raise BundleError("the labels folder is missing", stage="report", file=options.labels, expected="a folder")
    settings = run_settings(options, needs_weights)
    if options.command in LONG and not settings.small and not uses_gpu(options.device):
        logger.warning("%s", NO_GPU)
    pipeline = Pipeline(settings, minimum_cases)
    cohort, settings = pipeline.cohort, pipeline.settings
    print(f"support: {cohort.support}; cases: {len(cohort.cases)}; classes: {cohort.classes}")
    print(f"background strokes: {cohort.background}; mode: {settings.mode}{', small' if settings.small else ''}")
    print(f"modality: {cohort.modality.upper()}")
    return pipeline


def _to_the_end(pipeline: Pipeline, options: argparse.Namespace, stages: Callable[[], None]) -> None:
    with pipeline.progress.whole():
        stages()
        pipeline.export(options.rtstruct)
        said = _leave_results(pipeline, options)
    print(said)


def _leave_results(pipeline: Pipeline, options: argparse.Namespace, final: bool = True) -> str:
    """Leave the table of results and the report; in words what was made, what to look at first, and where."""
    from bundle.results.last_lines import last_lines

    work = pipeline.work
    table, report = pipeline.write_results(final), pipeline.report(options.labels)
    maps = f"label maps: {(work.predictions if final else work.pseudo_labels).path}"
    return "\n".join([*last_lines(table), maps, f"results: {work.results_csv}", f"report: {report}"])
