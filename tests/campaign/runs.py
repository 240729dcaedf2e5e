"""The commands that the campaign disturbs, over a cohort so small that each takes seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bundle.datasets.phantom_cohort import write_phantom_cohort
from tests.pipeline_fixtures import default_settings, phantom_settings

SPACING_MM = (8.0, 8.0, 10.0)
SETTINGS = {"default": default_settings, "paper": phantom_settings}


@dataclass(frozen=True)
class Runs:
    """Commands over one cohort of four phantoms.

    Attributes:
        cohort: its folder.
        network: a trained segmentation network, for `infer`.
    """

    cohort: Path
    network: Path

    def command(self, name: str, output: Path) -> list[str]:
        """Of one of `NAMES`."""
        if name == "infer":
            return [
                "infer",
                "--images",
                str(self.cohort / "images"),
                "--model",
                str(self.network),
                "--output",
                str(output),
            ]
        if name == "package":
            terms = self.cohort / "terms.txt"
            terms.write_text("Synthetic images.\n", encoding="utf-8")
            task = ["--task", str(self.network.parent), "--data-terms", str(terms), "--authors", "nobody"]
            return ["package", "--name", "tried_ct_segmentation", "--output", str(output), *task]
        return oneshot(self.cohort, output, "default" if name == "support-mask" else name, name == "support-mask")


def oneshot(cohort: Path, output: Path, mode: str, mask_alone: bool = False) -> list[str]:
    """The whole method with networks that learn nothing; or the support mask alone."""
    pairs = [(stage, key, value) for stage, keys in SETTINGS[mode]().items() for key, value in keys.items()]
    return [
        *(("support-mask" if mask_alone else "oneshot"), "--mode", mode, "--small", "--device", "cpu"),
        *("--images", str(cohort / "images"), "--support", str(cohort / "images" / "phantom_00.nii.gz")),
        *("--scribbles", str(cohort / "scribbles" / "phantom_00_a.nii.gz"), "--output", str(output)),
        *("--classes", "spleen:1,liver:4", "--background", "7"),
        *(part for stage, key, value in pairs for part in ("--set", f"{stage}.{key}={json.dumps(value)}")),
    ]


def make_cohort(folder: Path) -> Path:
    """Four phantoms."""
    return write_phantom_cohort(folder, count=4, held_out=0, spacing_mm=SPACING_MM)
