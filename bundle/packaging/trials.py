"""The zoo's rules that show only when the package runs: its network, its exports, and every command of its README.

Everything runs in the package's own folder, in processes that see neither this checkout nor its driver.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundle.datasets.phantom.painter import make_phantom
from bundle.packaging.documents import code_blocks
from scripts.common.files import read_json, write_nifti
from scripts.common.made_of import fingerprint, write_record
from scripts.common.work_folder import WorkFolder
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.records import PseudoLabelRecord

logger = logging.getLogger(__name__)

# Config -> settings that make its run short; the command's own options stay.
SHORT: dict[str, dict[str, Any]] = {
    "train.json": {"max_epochs": 1, "samples_per_epoch": 2, "use_plc": False, "patch_size": [32] * 3},
    "train_prnet.json": {
        **{"max_epochs": 1, "iterations_per_epoch": 1, "validation_count": 1},
        **{"spacing_mm": [2, 2, 2], "patch_size": [32] * 3, "pooling": 1},
    },
}
NETWORK = shlex.split("--net_id network_def --meta_file configs/metadata.json --config_file configs/inference.json")
TORCHSCRIPT = "models/model.ts"
SHELLS = ("", "bash", "sh")
SPACING_MM = (8.0, 8.0, 8.0)
EDGE_MM = 96.0  # of a volume: one window of the network
TIME_LIMIT_S = 600
LINES_SHOWN = 3


def failed_trials(folder: Path) -> list[str]:
    """What does not run in the package, in words; empty if everything does."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        paths = _stand_ins(folder, scratch)
        commands = [_net_in_out(), *readme_commands(folder)]
        if not any("ckpt_export" in command for command in commands):
            commands.append(_torchscript())
        failures = []
        for number, command in enumerate(commands, start=1):
            logger.info("package: trial %d of %d: %s", number, len(commands), " ".join(command[:6]))
            shortened = _shortened(_with_stand_ins(command, paths))
            if (reason := _run(shortened, folder)) is not None:
                failures.append(f"`{shlex.join(command)}` fails: {reason}")
    return failures


def readme_commands(folder: Path) -> list[list[str]]:
    """Commands of the package's README."""
    return commands_in((folder / "docs" / "README.md").read_text(encoding="utf-8"))


def commands_in(text: str) -> list[list[str]]:
    """Commands in the code blocks of a Markdown page that name no other language, split as a shell would."""
    blocks = code_blocks(text)
    lines = "\n".join(block for language, block in blocks if language in SHELLS).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def _net_in_out() -> list[str]:
    return ["python", "-m", "monai.bundle", "verify_net_in_out", *NETWORK, "--p", "1", "--n", "2"]


def _torchscript() -> list[str]:
    files = ["--filepath", TORCHSCRIPT, "--ckpt_file", "models/model.pt"]
    return ["python", "-m", "monai.bundle", "ckpt_export", *NETWORK, *files]


def _stand_ins(folder: Path, scratch: Path) -> dict[str, str]:
    """What the capital words of a README's command, and files it would leave in the package, stand for.

    The words stand for two small synthetic volumes, and label maps in which every class of the package is a slab.
    """
    classes = read_json(folder / "models" / "model.json")["classes"]
    images, work = scratch / "images", WorkFolder(scratch / "work")
    labels = work.pseudo_labels
    for seed in range(2):
        phantom = make_phantom(seed, SPACING_MM)
        edge = round(EDGE_MM / SPACING_MM[0])
        start = [(size - edge) // 2 for size in phantom.hu.shape]
        middle = tuple(slice(first, first + edge) for first in start)
        write_nifti(images / f"case_{seed}.nii.gz", phantom.hu[middle], phantom.affine)
        drawn = np.zeros((edge,) * 3, dtype=np.uint8)
        for slab, value in zip(np.array_split(np.arange(edge), len(classes) + 1), classes.values(), strict=False):
            drawn[:, :, slab] = value
        write_nifti(labels.label(f"case_{seed}"), drawn, phantom.affine)
    for case in prepare_cohort(images, work.path, SPACING_MM).cases:
        record = PseudoLabelRecord(case, classes, given=True)
        write_record(labels.record(case), record.to_json(), fingerprint(record.to_json()), [labels.label(case)])
    folders = {"IMAGES": images, "LABELS": labels.path, "WORK": work.path, "OUTPUT": scratch / "output"}
    return {word: str(path) for word, path in {**folders, TORCHSCRIPT: scratch / "model.ts"}.items()}


def _with_stand_ins(command: Sequence[str], paths: Mapping[str, str]) -> list[str]:
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, paths)) + r")\b")
    return [pattern.sub(lambda match: paths[match.group()], part) for part in command]


def _shortened(command: Sequence[str]) -> list[str]:
    short: dict[str, Any] = {}
    for name, settings in SHORT.items():
        if any(f"configs/{name}" in part for part in command):
            short |= settings
    return [*command, *(part for key, value in short.items() for part in (f"--{key}", str(value)))]


def _run(command: Sequence[str], folder: Path) -> str | None:
    """None if the command succeeds, else the end of what it says."""
    programs = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}
    program = programs.get(command[0], [command[0]])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(
            [*program, *command[1:]],
            cwd=folder,
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {TIME_LIMIT_S} s"
    if done.returncode == 0:
        return None
    output = (done.stderr or done.stdout).strip().splitlines()[-LINES_SHOWN:]
    return f"exit status {done.returncode}: {' | '.join(output)}"
