"""The stages from one scribbled volume to label maps, as one resumable run over a work directory."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.report import write_report
from bundle.run_config import BUNDLE_ROOT, check_keys, read_configs, run_config
from bundle.work_directory import Stage, WorkDirectory
from scripts.cohort import Cohort, prepare_cohort
from scripts.errors import BundleError
from scripts.files import sha256_of_file
from scripts.prnet_weights import trained_spacing_mm

logger = logging.getLogger(__name__)

MODES = ("paper",)
# Stage -> its configs, and the patch that fits it to two CPU cores.
CONFIGS = {
    "prnet_coarse": (["train_prnet.json"], "small.json"),
    "prnet_fine": (["train_prnet.json", "train_prnet_fine.json"], "small.json"),
    "propagation": (["propagate.json"], "small_propagate.json"),
    "pseudo_labels": (["pseudo_labels.json"], "small_pseudo_labels.json"),
    "segmentation": (["train.json"], "small_segmentation.json"),
    "inference": (["inference.json"], "small_segmentation.json"),
}
PRNET_STAGES = ("prnet_coarse", "prnet_fine")


@dataclass(frozen=True)
class RunSettings:
    """What the user asked for.

    Attributes:
        output: the work directory.
        images: folder of volumes.
        support: the scribbled volume.
        scribbles: its scribbles.
        classes: name -> value, "name:value,..." or None for what dataset.json or the scribbles say.
        background: value of the background strokes, or None.
        mode: which configuration of the method.
        small: patch every stage for two CPU cores.
        device: for the networks; None takes a GPU if there is one.
        weights: a trained PRNet's folder instead of training one.
        overrides: stage -> config key -> value, on top of everything.
    """

    output: Path
    images: Path
    support: Path
    scribbles: Path
    classes: Mapping[str, int] | str | None = None
    background: int | None = None
    mode: str = "paper"
    small: bool = False
    device: str | None = None
    weights: Path | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Pipeline:
    """Checks the input once, then runs stages.

    Args:
        settings: what the user asked for.

    Raises:
        BundleError: whatever is wrong with the input or the settings, before any long work.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.output = Path(settings.output).absolute()
        if settings.mode not in MODES:
            raise BundleError("unknown mode", stage="settings", expected=", ".join(MODES), found=settings.mode)
        for stage, overrides in settings.overrides.items():
            if stage not in CONFIGS:
                raise BundleError("unknown stage", stage="settings", expected=", ".join(CONFIGS), found=stage)
            check_keys(self._names(stage), overrides)
        self.directory = WorkDirectory(self.output)
        self.cohort: Cohort = prepare_cohort(
            images=settings.images,
            output_dir=self.output,
            spacing_mm=self._working_spacing_mm(),
            support=settings.support,
            scribbles=settings.scribbles,
            classes=settings.classes,
            background=settings.background,
            minimum_cases=1 if settings.weights else 2,
        )

    def train_prnet(self) -> None:
        """Train the coarse and the fine PRNet, unless weights were given."""
        if self.settings.weights is not None:
            return
        for stage in PRNET_STAGES:
            folder = self.output / "prnet" / stage.removeprefix("prnet_")
            overrides = {"dataset_dir": str(self.settings.images), "output_dir": str(self.output)}
            self._run(stage, overrides, self._image_hashes(), folder=folder)

    def propagate(self) -> None:
        """Locate the scribbles in every case and grow pseudo labels from them."""
        prnet_dir = self.settings.weights or self.output / "prnet"
        after = () if self.settings.weights else PRNET_STAGES
        inputs = [self._image_hashes(), self._scribble_hashes(), self._weight_hashes()]
        overrides = {"output_dir": str(self.output)}
        self._run("propagation", overrides | {"prnet_dir": str(prnet_dir)}, inputs, after)
        self._run("pseudo_labels", overrides | {"fine_dir": str(prnet_dir / "fine")}, inputs, ["propagation"])

    def train_segmentation(self, variant: str = "", changes: Mapping[str, Any] | None = None) -> Path:
        """Train the segmentation network on the pseudo labels; returns its folder.

        Args:
            variant: name of another training on the same pseudo labels, kept in `OUTPUT/VARIANT/`.
            changes: config key -> value of that variant.
        """
        root = self.output / variant
        overrides = {"output_dir": str(root), "dataset_dir": str(self.output), "classes": dict(self.cohort.classes)}
        folder = root / "segmentation"
        self._run("segmentation", overrides, None, ["pseudo_labels"], folder, variant, changes)
        return folder

    def infer(self) -> None:
        """Predict every case of the cohort with the trained network."""
        folder = self.output / "predictions"
        cases = [case for case in self.cohort.cases.values() if not (folder / f"{case.id}.nii.gz").exists()]
        overrides = {
            "output_dir": str(folder),
            "checkpoint": str(self.output / "segmentation" / "model.pt"),
            "classes": dict(self.cohort.classes),
            "dataset#data": [{"image": str(case.image), "case": case.id} for case in cases],
        }
        self._run("inference", overrides, self._image_hashes(), ["segmentation"], folder)

    def report(self, labels: Path | None = None) -> Path:
        """Write the report; quick, so always done again."""
        return write_report(self.output, labels)

    def _run(
        self,
        stage: str,
        overrides: dict[str, Any],
        inputs: Any,
        after: Sequence[str] = (),
        folder: Path | None = None,
        variant: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        wanted = {**self.settings.overrides.get(stage, {}), **(changes or {})}
        names = self._names(stage)
        everything = overrides | wanted
        if self.settings.device is not None:
            everything["device"] = f"$torch.device('{self.settings.device}')"
        # Places and devices do not change a result, so they are left out of the fingerprint.
        config = [read_configs(names), wanted, overrides.get("classes")]
        name = f"{stage}_{variant}" if variant else stage
        self.directory.run(Stage(name, lambda: run_config(names, everything), config, inputs, after, folder))

    def _names(self, stage: str) -> list[str]:
        names, small = CONFIGS[stage]
        return [*names, small] if self.settings.small else list(names)

    def _working_spacing_mm(self) -> list[float]:
        if self.settings.weights is not None:
            return trained_spacing_mm(self.settings.weights)
        chosen = [dict(self.settings.overrides.get(stage, {})).get("spacing_mm") for stage in PRNET_STAGES]
        if chosen[0] != chosen[1]:
            raise BundleError(
                "both PRNets need one spacing", stage="settings", expected="the same spacing_mm", found=chosen
            )
        return chosen[0] or read_configs(self._names("prnet_coarse"))["spacing_mm"]

    def _image_hashes(self) -> dict[str, str]:
        return {name: case.sha256 for name, case in self.cohort.cases.items()}

    def _scribble_hashes(self) -> list[Any]:
        return [sha256_of_file(self.cohort.scribbles), list(self.cohort.classes.items()), self.cohort.support]

    def _weight_hashes(self) -> list[str]:
        if self.settings.weights is None:
            return []
        return [sha256_of_file(self.settings.weights / name / "model.pt") for name in ("coarse", "fine")]


def weights_folder(name_or_folder: str) -> Path:
    """A shipped set of PRNet weights by name, or a folder holding `coarse/` and `fine/` (or `prnet/` with them).

    Raises:
        BundleError: neither.
    """
    shipped = sorted(path.parent.name for path in (BUNDLE_ROOT / "models").glob("*/coarse"))
    given = Path(name_or_folder)
    for folder in (BUNDLE_ROOT / "models" / name_or_folder, given, given / "prnet"):
        if (folder / "coarse" / "model.pt").is_file() and (folder / "fine" / "model.pt").is_file():
            return folder.absolute()
    names = ", ".join(shipped) or "none is shipped"
    raise BundleError(
        "no PRNet weights of that name or in that folder",
        stage="settings",
        expected=f"a shipped set ({names}), or a folder with coarse/model.pt and fine/model.pt",
        found=name_or_folder,
    )


def link_images(files: Mapping[str, Path], folder: Path) -> Path:
    """A folder that holds just these volumes, as links (copies where links are not to be had); returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        target = folder / f"{name}{''.join(file.suffixes[-2:]) if file.name.endswith('.nii.gz') else file.suffix}"
        if target.exists():
            continue
        try:
            target.symlink_to(file.absolute())
        except OSError:
            shutil.copyfile(file, target)
    return folder
