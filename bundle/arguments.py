"""What can be said on the command line. Nothing heavy is imported for it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle.version import bundle_version

MODELS = Path(__file__).resolve().parents[1] / "models"
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
BENCHMARKS = ("paper", "default", "networks", "ablation", "limits", "orientation", "pages")


def command_parser() -> argparse.ArgumentParser:
    """The parser; what it parses holds `command`, the command's name, and `old_names`, option of 0.3.0 -> its name."""
    parser = argparse.ArgumentParser(
        prog="python -m bundle", description="One scribbled CT or MR volume in, a segmentation network out."
    )
    parser.set_defaults(old_names={})
    parser.add_argument("--version", action="version", version=bundle_version())
    parser.add_argument("--verbose", action="store_true", help="log everything the libraries say")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    oneshot = _command(commands, "oneshot", "the whole method: train, propagate, segment, report")
    _add_run_options(oneshot)
    _add_rtstruct(oneshot)
    suggest = "which volume to scribble: the most central ones, before anything is drawn"
    _add_suggest_options(_command(commands, "suggest", suggest))
    support_mask = "the support's whole organs as they grow from its strokes, to look at; no training"
    old = [old for old, new in COMMAND_ALIASES.items() if new == "support-mask"]
    _add_run_options(_command(commands, "support-mask", support_mask, aliases=old))
    _add_run_options(_command(commands, "propagate", "scribbles into every volume with trained networks; no training"))
    train = _command(commands, "train", "segmentation network from the pseudo labels in the output folder")
    _add_run_options(train, from_output=True)
    _add_rtstruct(train)
    _add_infer_options(_command(commands, "infer", "label maps of new volumes with a trained segmentation network"))
    export = _command(commands, "export", "label maps of DICOM series as DICOM SEG and RTSTRUCT")
    export.add_argument("--output", type=Path, required=True, help="output folder of oneshot, train or infer")
    export.add_argument(
        "--dicom", type=Path, nargs="+", default=[], help="folders with the series, called as the label maps are"
    )
    _add_rtstruct(export)
    _add_evaluate_options(_command(commands, "evaluate", "Dice, HD95 and surface Dice against label maps"))
    report = _command(commands, "report", "write the report of an output folder again")
    report.add_argument("--output", type=Path, required=True, help="output folder of a run")
    report.add_argument("--labels", type=Path, help="folder of true label maps, to show them beside the results")
    report.add_argument("--case", metavar="NAME", help="also write this case's page, one file that needs no other")
    _add_package_options(
        _command(commands, "package", "a folder and a zip for the MONAI model zoo, checked by its rules")
    )
    server = "a MONAI Label server; `make monai-label` sets its environment up"
    _add_server_options(_command(commands, "monai-label", server))
    settings = _command(commands, "settings", "what `--set` can change of a stage: keys, values, meanings")
    settings.add_argument("stage", help="such as segmentation; `--set STAGE.KEY=VALUE` names it")
    settings.add_argument("--mode", choices=MODES, default=DEFAULT_MODE, help="the method's configuration")
    settings.add_argument("--small", action="store_true", help="the configuration for two CPU cores")
    demo = _command(commands, "demo", "the whole method on an embedded synthetic cohort")
    demo.add_argument("--output", type=Path, default=Path("demo"), help="folder for the cohort and the run")
    _add_benchmark_options(_command(commands, "benchmark", "measure the method, or the limits on time and memory"))
    return parser


def _command(commands: Any, name: str, what: str, aliases: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of a command, with an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        aliases=aliases,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  python -m bundle {name} {EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


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


def _add_run_options(parser: argparse.ArgumentParser, from_output: bool = False) -> None:
    parser.set_defaults(from_output=from_output)
    given = parser.add_argument_group("input", "needed once; `train` knows them from --output" if from_output else None)
    given.add_argument("--images", type=Path, required=not from_output, help="folder of volumes")
    given.add_argument(
        "--support",
        type=Path,
        required=not from_output,
        help="the scribbled volume; a case of --images by its name",
    )
    given.add_argument("--scribbles", type=Path, required=not from_output, help="its scribbles, on its grid")
    given.add_argument("--classes", help='such as "spleen:1,left_kidney:3,liver:6"')
    given.add_argument("--background", type=int, help="value of the background strokes")
    _add_modality(given, "what the volumes are; auto: what the support is by its header or values")
    made = parser.add_argument_group("output")
    made.add_argument("--output", type=Path, required=True, help="work directory; run again to continue")
    made.add_argument("--labels", type=Path, help="folder of true label maps, shown in the report, used nowhere else")
    corrected = parser.add_argument_group("what you corrected", "mode default")
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
    method = parser.add_argument_group("method")
    method.add_argument("--mode", choices=MODES, help=f"the method's configuration, {DEFAULT_MODE} unless given")
    method.add_argument("--small", action="store_true", help="a configuration for two CPU cores")
    method.add_argument("--device", help="such as cpu or cuda:0; default: a GPU if there is one")
    method.add_argument("--weights", help=f"a shipped set ({', '.join(_shipped())}), or a folder of weights")
    method.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.KEY=VALUE",
        help="change a config key of a stage (`settings STAGE` lists them); a VALUE that begins with $ is an "
        "expression",
    )


def _shipped() -> list[str]:
    """Names of the sets of weights, which no heavy code need be asked for."""
    return sorted(path.name for path in MODELS.iterdir() if path.is_dir()) if MODELS.is_dir() else []


def _add_suggest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of volumes")
    parser.add_argument(
        "--output", type=Path, default=Path("oneshot"), help="work directory; `oneshot` may go on in it"
    )
    parser.add_argument(
        "--weights", help="a shipped set of weights by name, or a folder of weights; default: those in --output"
    )
    parser.add_argument("--count", type=int, help="how many volumes are proposed, 3 unless given")
    _add_modality(parser, "what the volumes are; auto: what most of them are by header or values")
    parser.add_argument("--device", help="such as cpu or cuda:0; default: a GPU if there is one")


def _add_modality(parser: argparse._ActionsContainer, text: str) -> None:
    parser.add_argument("--modality", choices=MODALITIES, help=text)


def _add_rtstruct(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--rtstruct", action="store_true", help="of DICOM series also RT structure sets, not only SEG")


def _add_infer_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of volumes")
    parser.add_argument("--model", type=Path, required=True, help="folder with model.pt and model.json")
    parser.add_argument("--output", type=Path, required=True, help="folder for the label maps")
    _add_modality(parser, "what the volumes are; auto: what the network was trained on, others are left out")
    _add_rtstruct(parser)
    parser.add_argument("--device", help="such as cpu or cuda:0")


def _add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--predictions", type=Path, required=True, help="folder of label maps to be scored")
    parser.add_argument("--labels", type=Path, required=True, help="folder of true label maps")
    parser.add_argument("--classes", required=True, help='such as "spleen:1,liver:6"')
    parser.add_argument("--json", type=Path, help="write the result there")


def _add_package_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="such as spleen_ct_segmentation")
    parser.add_argument("--output", type=Path, required=True, help="folder for the package's folder and zip")
    parser.add_argument("--task", type=Path, help="output folder of `oneshot`: share its network, not the bundle's")
    parser.add_argument("--version", help="such as 0.2.0; default: that of configs/metadata.json")
    parser.add_argument("--change", help="line of the changelog for a new version")
    parser.add_argument("--authors", help="who made it")
    parser.add_argument("--data-terms", type=Path, help="text on the images it was trained on, and their terms")
    parser.add_argument("--large-files-url", help="where files above 25 MB will lie, should there be any")
    parser.add_argument("--schema", type=Path, help="file of the metadata's schema, to check against it too")


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--studies", type=Path, required=True, help="folder of volumes, NIfTI")
    parser.add_argument("--app", type=Path, default=Path("runs/monai_label"), help="folder for all that it leaves")
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1")
    parser.add_argument(
        "--weights", help=f"as for oneshot ({', '.join(_shipped())}): the anatomy need not be learnt first"
    )
    _add_modality(parser, "as for oneshot")
    parser.add_argument("--full", action="store_true", help="the full configuration instead of the small one")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="as for oneshot")
    parser.add_argument(
        "--allow-origin", action="append", default=[], metavar="ORIGIN", help="of web pages; loopback always may"
    )
    parser.add_argument("--upload-limit-gib", type=float, default=2.0, help="largest upload; default 2")


def _add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=BENCHMARKS, help="`pages` measures nothing: it writes the pages again")
    parser.add_argument("--dataset", type=Path, help="folder with dataset.json; needed but for `pages`")
    parser.add_argument("--output", type=Path, help="work directory; default runs/paper_DATASET or default_DATASET")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of results.md and benchmarks/")
    parser.add_argument(
        "--full", action="store_true", help="paper, default, ablation: the full configuration instead of the small one"
    )
    parser.add_argument("--device", help="such as cpu or cuda:0")
    parser.add_argument("--ship", action="store_true", help="copy the trained networks to models/")
    parser.add_argument(
        "--out-of-distribution",
        "--strangers",
        action=_Renamed,
        type=Path,
        help="default: a dataset of another body part, to be flagged",
    )
