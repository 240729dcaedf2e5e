"""What can be said on the command line. Nothing heavy is imported for it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle.version import bundle_version

CHECKOUT = "python -m bundle"  # how a checkout's command line is called
MODELS = Path(__file__).resolve().parents[1] / "models"
SHIPPED_NETWORK = "shipped"  # names the network in MODELS
MODES = ("default", "paper")
AUTO = "auto"
MODALITIES = (AUTO, "ct", "mr")
DEFAULT_MODE = MODES[0]
COMMAND_ALIASES = {"region": "support-mask"}  # of version 0.3.0, for one version
# Command -> what could follow it.
EXAMPLES = {
    "oneshot": "--images ct --support CASE --scribbles strokes.nii.gz --output out --small",
    "support-mask": "--images ct --support CASE --scribbles strokes.nii.gz --output out --small",
    "propagate": "--images ct --support CASE --scribbles strokes.nii.gz --output out --small --weights abdomen_ct",
    "train": "--output out --set segmentation.max_epochs=20",
    "infer": "--images new --model out/segmentation --output labels",
    "evaluate": '--predictions labels --labels true --classes "spleen:1,liver:6"',
    "report": "--output out",
    "suggest": "--images ct --weights abdomen_ct",
    "export": "--output out --rtstruct",
    "package": "--name spleen_ct_segmentation --output zoo --task out --data-terms terms.txt",
    "monai-label": "--studies ct --weights abdomen_ct",
    "settings": "segmentation --small",
    "demo": "--output demo",
    "benchmark": "default --dataset abdomen_ct --output runs",
}
BENCHMARKS = ("paper", "default", "networks", "ablation", "rivals", "orientation", "painted")
COSTS = ("limits", "speed", "cohort-size")  # benchmarks of time and memory


def command_parser(program: str = CHECKOUT) -> argparse.ArgumentParser:
    """The parser.

    What it parses holds `program`, `command`, the command's name, and `old_names`, option of 0.3.0 -> its name.

    Args:
        program: how the command line is called here.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description="One scribbled CT or MR volume in, a segmentation network out.",
        epilog=f"`{program} COMMAND --help` has the options of a command, with examples.",
    )
    parser.set_defaults(old_names={}, program=program)
    parser.add_argument("--version", action="version", version=bundle_version())
    parser.add_argument("--verbose", action="store_true", help="log everything the libraries say")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    oneshot = "the whole method: train, propagate, segment, report"
    _add_run_options(_command(commands, "oneshot", oneshot), exports=True)
    suggest = "which volume to scribble: the most central ones, before anything is drawn"
    _add_suggest_options(_command(commands, "suggest", suggest))
    support_mask = "the support's whole organs as they grow from its strokes, to look at; no training"
    old = [old for old, new in COMMAND_ALIASES.items() if new == "support-mask"]
    _add_run_options(_command(commands, "support-mask", support_mask, aliases=old))
    _add_run_options(_command(commands, "propagate", "scribbles into every volume with trained networks; no training"))
    train = "segmentation network from the pseudo labels in the output folder"
    _add_run_options(_command(commands, "train", train), from_output=True, exports=True)
    _add_infer_options(_command(commands, "infer", "label maps of new volumes with a trained segmentation network"))
    _add_export_options(_command(commands, "export", "label maps of DICOM series as DICOM SEG and RTSTRUCT"))
    _add_evaluate_options(_command(commands, "evaluate", "Dice, HD95 and surface Dice against label maps"))
    _add_report_options(_command(commands, "report", "write the report of an output folder again"))
    _add_package_options(
        _command(commands, "package", "a folder and a zip for the MONAI model zoo, checked by its rules")
    )
    server = "a MONAI Label server; `make monai-label` sets its environment up"
    _add_server_options(_command(commands, "monai-label", server))
    settings = "what `--set` can change of a stage: keys, values, meanings"
    _add_settings_options(_command(commands, "settings", settings))
    demo = _command(commands, "demo", "the whole method on an embedded synthetic cohort")
    _group(demo, "output", "--output demo").add_argument(
        "--output", type=Path, default=Path("demo"), help="folder for the cohort and the run; run again to continue"
    )
    _add_benchmark_options(_command(commands, "benchmark", "measure the method, or the limits on time and memory"))
    return parser


def _command(commands: Any, name: str, what: str, aliases: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of a command, with an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        aliases=aliases,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.epilog = f"example:\n  {parser.prog} {EXAMPLES[name]}"
    return parser


def _group(parser: argparse.ArgumentParser, title: str, example: str, when: str = "") -> argparse._ArgumentGroup:
    """A group of options; its description is `when` it counts, and an example of its own."""
    return parser.add_argument_group(title, f"{when}{'; ' if when else ''}such as: {example}")


class _Renamed(argparse.Action):
    """An option with names of 0.3.0 after its own: notes which of them was used."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        name, *old_names = self.option_strings
        if option_string in old_names:
            namespace.old_names = {**getattr(namespace, "old_names", {}), option_string: name}


def _add_run_options(parser: argparse.ArgumentParser, from_output: bool = False, exports: bool = False) -> None:
    parser.set_defaults(from_output=from_output)
    known = "needed once; `train` knows them from --output" if from_output else ""
    given = _group(parser, "input", '--images ct --support CASE --scribbles s.nii.gz --classes "liver:6"', known)
    given.add_argument("--images", type=Path, required=not from_output, help="folder of volumes")
    scribbled = "the scribbled volume; a case of --images by its name"
    given.add_argument("--support", type=Path, required=not from_output, help=scribbled)
    given.add_argument("--scribbles", type=Path, required=not from_output, help="its scribbles, on its grid")
    given.add_argument("--classes", help='such as "spleen:1,left_kidney:3,liver:6"')
    given.add_argument("--background", type=int, help="value of the background strokes")
    _add_modality(given, "what the volumes are; auto: what the support is by its header or values")
    made = _group(parser, "output", "--output out")
    made.add_argument("--output", type=Path, required=True, help="work directory; run again to continue")
    made.add_argument("--labels", type=Path, help="folder of true label maps, shown in the report, used nowhere else")
    if exports:
        _add_rtstruct(made)
    corrected = _group(parser, "what you corrected", "--accepted CASE_1,CASE_2", "mode default")
    corrected.add_argument(
        "--support-mask",
        "--region",
        action=_Renamed,
        type=Path,
        help="the support's whole organs as you corrected them, on its grid",
    )
    corrected.add_argument(
        "--accepted",
        help="folder of label maps ID.nii.gz that you corrected, or names of cases (A,B, or a text file) whose label "
        "maps in --output are right; each helps the rest",
    )
    method = _group(parser, "method", "--small --weights abdomen_ct --set segmentation.max_epochs=20")
    method.add_argument("--mode", choices=MODES, help=f"the method's configuration, {DEFAULT_MODE} unless given")
    method.add_argument("--small", action="store_true", help="a configuration for two CPU cores")
    bounded = "mode paper: classes end where the body does and at a multiple of their volume in the support"
    method.add_argument("--bounded-labels", action=argparse.BooleanOptionalAction, help=f"{bounded}; on with --small")
    pairs = "mode paper: PRNet learns from all pairs of many patches of a volume"
    method.add_argument("--all-pairs", action="store_true", default=None, help=pairs)
    _add_machine(method)
    method.add_argument("--weights", help=f"a shipped set ({', '.join(shipped_weights())}), or a folder of weights")
    method.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.KEY=VALUE",
        help="change a config key of a stage (`settings STAGE` lists them); a VALUE that begins with $ is an "
        "expression",
    )


def shipped_weights(network: str = "embedding") -> list[str]:
    """Names of the sets of weights that hold a network, which no heavy code need be asked for."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{network}") if path.is_dir())


def _add_suggest_options(parser: argparse.ArgumentParser) -> None:
    places = _group(parser, "input and output", "--images ct --output out")
    places.add_argument("--images", type=Path, required=True, help="folder of volumes")
    more = "work directory, default oneshot; `oneshot` may go on in it"
    places.add_argument("--output", type=Path, default=Path("oneshot"), help=more)
    _add_modality(places, "what the volumes are; auto: what most of them are by header or values")
    method = _group(parser, "method", "--weights abdomen_ct --count 5")
    method.add_argument(
        "--weights", help="a shipped set of weights by name, or a folder of weights; default: those in --output"
    )
    method.add_argument("--count", type=int, help="how many volumes are proposed, 3 unless given")
    _add_machine(method, "read volumes at once")


def _add_machine(group: argparse._ActionsContainer, task: str = "work on cases at once") -> None:
    group.add_argument("--device", help="such as cpu or cuda:0; default: a GPU if there is one")
    places = group.add_mutually_exclusive_group()
    many = f"processes that {task}, or `auto`: as many as cores and memory allow; default 1"
    places.add_argument("--workers", type=_workers, default=1, metavar="N", help=many)
    places.add_argument("--scheduler", metavar="ADDRESS", help="of Dask: its workers work on the cases")
    group.add_argument("--worker-memory", type=float, metavar="GIB", help="a worker of --workers may take; default 4")


def _workers(text: str) -> int | str:
    if text == AUTO or (text.isdecimal() and int(text) > 0):
        return AUTO if text == AUTO else int(text)
    raise argparse.ArgumentTypeError(f"a number from 1, or {AUTO}: {text!r}")


def _add_modality(parser: argparse._ActionsContainer, text: str) -> None:
    parser.add_argument("--modality", choices=MODALITIES, help=text)


def _add_rtstruct(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--rtstruct", action="store_true", help="of DICOM series also RT structure sets, not only SEG")


def _add_infer_options(parser: argparse.ArgumentParser) -> None:
    given = _group(parser, "input", "--images new --model out/segmentation")
    given.add_argument("--images", type=Path, required=True, help="folder of volumes")
    network = f"folder with model.pt and model.json, or `{SHIPPED_NETWORK}`: spleen, left kidney and liver in CT"
    given.add_argument("--model", type=Path, required=True, help=network)
    _add_modality(given, "what the volumes are; auto: what the network was trained on, others are left out")
    made = _group(parser, "output", "--output labels --rtstruct")
    made.add_argument("--output", type=Path, required=True, help="folder for the label maps")
    _add_rtstruct(made)
    _add_machine(_group(parser, "machine", "--device cuda:0"))


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    given = _group(parser, "input", "--output out --dicom series/CASE_1 series/CASE_2")
    given.add_argument("--output", type=Path, required=True, help="output folder of oneshot, train or infer")
    given.add_argument(
        "--dicom", type=Path, nargs="+", default=[], help="folders with the series, called as the label maps are"
    )
    _add_rtstruct(_group(parser, "formats", "--rtstruct"))


def _add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    given = _group(parser, "input", '--predictions labels --labels true --classes "spleen:1,liver:6"')
    given.add_argument("--predictions", type=Path, required=True, help="folder of label maps to be scored")
    given.add_argument("--labels", type=Path, required=True, help="folder of true label maps")
    given.add_argument("--classes", required=True, help='such as "spleen:1,liver:6"')
    given.add_argument("--predicted-classes", help="their values in the predictions; default: see its results.json")
    made = _group(parser, "output", "--json scores.json")
    made.add_argument("--json", type=Path, help="write the result there, too")


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    places = _group(parser, "input and output", "--output out --case abd_03")
    places.add_argument("--output", type=Path, required=True, help="output folder of a run")
    places.add_argument("--labels", type=Path, help="folder of true label maps, to show them beside the results")
    places.add_argument("--case", metavar="NAME", help="also write this case's page, one file that needs no other")


def _add_settings_options(parser: argparse.ArgumentParser) -> None:
    what = "such as segmentation; `--set STAGE.KEY=VALUE` names it. Without one, the stages are listed"
    parser.add_argument("stage", nargs="?", help=what)
    method = _group(parser, "configuration", "--mode paper --small")
    method.add_argument("--mode", choices=MODES, default=DEFAULT_MODE, help="the method's configuration")
    method.add_argument("--small", action="store_true", help="the configuration for two CPU cores")


def _add_package_options(parser: argparse.ArgumentParser) -> None:
    made = _group(parser, "output", "--name spleen_ct_segmentation --output zoo")
    made.add_argument("--name", required=True, help="lower case, such as spleen_ct_segmentation")
    made.add_argument("--output", type=Path, required=True, help="folder for the package's folder and zip")
    given = _group(parser, "network", "--task out --data-terms terms.txt")
    given.add_argument("--task", type=Path, help="output folder of `oneshot`: share its network, not the bundle's")
    given.add_argument("--data-terms", type=Path, help="with --task: text on its images, and their terms")
    said = _group(parser, "what it says of itself", '--version 0.2.0 --change "more volumes"')
    said.add_argument("--version", help="such as 0.2.0; default: that of configs/metadata.json")
    said.add_argument("--change", help="line of the changelog for a new version")
    said.add_argument("--authors", help="who made it")
    zoo = _group(parser, "the zoo", "--schema meta_schema.json")
    zoo.add_argument("--large-files-url", help="where files above 25 MB will lie, should there be any")
    zoo.add_argument("--schema", type=Path, help="file of the metadata's schema, to check against it too")


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    places = _group(parser, "input and output", "--studies ct --app server")
    places.add_argument(
        "--studies", required=True, help="folder of volumes, or a DICOMweb server: http://HOST/dicom-web"
    )
    places.add_argument("--app", type=Path, default=Path("runs/monai_label"), help="default runs/monai_label")
    _add_modality(places, "as for oneshot")
    method = _group(parser, "method", "--weights abdomen_ct --set segmentation.max_epochs=20")
    method.add_argument(
        "--weights", help=f"as for oneshot ({', '.join(shipped_weights())}): the anatomy need not be learnt first"
    )
    method.add_argument(
        "--shipped", action="store_true", help="offer the network that comes with the bundle, too (organs of the belly)"
    )
    method.add_argument("--full", action="store_true", help="the full configuration instead of the small one")
    method.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="as for oneshot")
    server = _group(parser, "server", "--port 8100 --upload-limit-gib 1")
    server.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; default 8000")
    server.add_argument(
        "--allow-origin", action="append", default=[], metavar="ORIGIN", help="of web pages; loopback always may"
    )
    server.add_argument("--upload-limit-gib", type=float, default=2.0, help="largest upload; default 2")


def _add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=(*BENCHMARKS, *COSTS, "pages"), help="`pages` measures nothing")
    places = _group(parser, "input and output", "--dataset abdomen_ct --output runs/mine")
    places.add_argument("--dataset", type=Path, help="folder with dataset.json; not for `pages` and `cohort-size`")
    places.add_argument("--output", type=Path, help="work directory; default runs/paper_DATASET, runs/default_DATASET")
    places.add_argument("--docs", type=Path, default=Path("docs"), help="of results.md, benchmarks/; default docs")
    places.add_argument("--cases", type=int, nargs="+", help="cohort-size: numbers of cases; default 100 1000 10000")
    places.add_argument("--against", nargs="?", const="", help="speed: a commit to run, too; default as last time")
    method = _group(parser, "method", "--full --device cuda:0")
    method.add_argument("--full", action="store_true", help="paper, default, ablation, rivals: the full configuration")
    method.add_argument("--papers-rules", action="store_true", help="paper: by the paper's rules alone")
    method.add_argument("--device", help="such as cpu or cuda:0")
    method.add_argument(
        "--weights", help=f"paper: both PRNets as trained before ({', '.join(shipped_weights('coarse'))})"
    )
    method.add_argument("--ship", action="store_true", help="copy the trained networks to models/")
    method.add_argument(
        "--out-of-distribution",
        "--strangers",
        action=_Renamed,
        type=Path,
        help="default: a dataset of another body part, to be flagged",
    )
