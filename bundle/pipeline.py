"""The stages from one scribbled volume to label maps, as one resumable run over a work directory."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.inference import drop_stale_label_maps, network_overrides
from bundle.report import write_report
from bundle.run_config import BUNDLE_ROOT, check_values, device_override, read_configs, run_config
from bundle.run_settings import RunSettings, save_settings
from bundle.work_directory import Stage, WorkDirectory
from scripts.cohort import Cohort, prepare_cohort
from scripts.errors import BundleError
from scripts.files import sha256_of_file
from scripts.prnet_weights import load_prnet, trained_spacing_mm

logger = logging.getLogger(__name__)

MODES = ("paper",)
# Stage -> its configs, and the patches that fit it to two CPU cores. Inference takes what the network's card says.
CONFIGS: dict[str, tuple[list[str], list[str]]] = {
    "prnet_coarse": (["train_prnet.json"], ["small.json"]),
    "prnet_fine": (["train_prnet.json", "train_prnet_fine.json"], ["small.json"]),
    "propagation": (["propagate.json"], ["small_propagate.json"]),
    "pseudo_labels": (["pseudo_labels.json"], ["small_pseudo_labels.json"]),
    "segmentation": (["train.json"], ["small_segmentation.json"]),
    "inference": (["inference.json"], []),
}
PRNET_STAGES = ("prnet_coarse", "prnet_fine")


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
        self._check_settings()
        self.directory = WorkDirectory(self.output)
        self.cohort: Cohort = prepare_cohort(
            images=settings.images,
            output_dir=self.output,
            spacing_mm=self._working_spacing_mm(),
            support=settings.support,
            scribbles=settings.scribbles,
            classes=settings.classes,
            background=settings.background,
        )
        save_settings(settings)

    def run(self) -> None:
        """Every stage, from PRNet to label maps; the report is the caller's to ask for."""
        self.train_prnet()
        self.propagate()
        self.train_segmentation()
        self.infer()

    def train_prnet(self) -> None:
        """Train the coarse and the fine PRNet, unless weights were given."""
        if self.settings.weights is not None:
            return
        for stage in PRNET_STAGES:
            folder = self.output / "prnet" / stage.removeprefix("prnet_")
            count = self._validation_count(stage)
            overrides = {
                "output_dir": str(self.output),
                "cohort": {"_target_": "scripts.cohort.load_cohort", "output_dir": "@output_dir"},
                "validation_count": count,
            }
            self._run(stage, lambda values=overrides: values, [self._image_hashes(), self.cohort.split(count)], folder)

    def propagate(self) -> None:
        """Locate the scribbles in every case and grow pseudo labels from them."""
        prnet_dir = self.settings.weights or self.output / "prnet"
        inputs = [self._image_hashes(), self._scribble_hashes(), _weight_hashes(prnet_dir)]
        propagation = {"output_dir": str(self.output), "prnet_dir": str(prnet_dir)}
        self._run("propagation", lambda: propagation, inputs)
        labels = {"output_dir": str(self.output), "fine_dir": str(prnet_dir / "fine")}
        self._run("pseudo_labels", lambda: labels, inputs, after=["propagation"])

    def train_segmentation(self, variant: str = "", changes: Mapping[str, Any] | None = None) -> Path:
        """Train the segmentation network on the pseudo labels; returns its folder.

        Args:
            variant: name of another training on the same pseudo labels, kept in `OUTPUT/VARIANT/`.
            changes: config key -> value of that variant.
        """
        root = self.output / variant
        overrides = {"output_dir": str(root), "dataset_dir": str(self.output), "classes": dict(self.cohort.classes)}
        folder = root / "segmentation"
        self._run("segmentation", lambda: overrides, None, folder, ["pseudo_labels"], variant, changes)
        return folder

    def infer(self) -> None:
        """Predict every case of the cohort with the trained network; label maps that exist are kept."""
        folder = self.output / "predictions"
        self._run("inference", self._cases_to_predict, self._image_hashes(), folder, ["segmentation"])

    def report(self, labels: Path | None = None) -> Path:
        """Write the report; quick, so always done again."""
        return write_report(self.output, labels)

    def _run(
        self,
        stage: str,
        overrides: Callable[[], dict[str, Any] | None],
        inputs: Any,
        folder: Path | None = None,
        after: Sequence[str] = (),
        variant: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a stage's configs if something changed; `overrides` is asked then, and says None if nothing is left."""
        names = self._names(stage)
        wanted = {**self.settings.overrides.get(stage, {}), **(changes or {})}

        def action() -> None:
            values = overrides()
            if values is not None:
                run_config(names, values | wanted | device_override(self.settings.device))

        name = f"{stage}_{variant}" if variant else stage
        # Places and devices do not change a result, so they are left out of the fingerprint.
        self.directory.run(Stage(name, action, [read_configs(names), wanted], inputs, after, folder))

    def _cases_to_predict(self) -> dict[str, Any] | None:
        folder, network = self.output / "predictions", self.output / "segmentation"
        overrides = network_overrides(network)
        drop_stale_label_maps(network, folder, self._image_hashes())
        cases = [case for case in self.cohort.cases.values() if not (folder / f"{case.id}.nii.gz").exists()]
        if not cases:
            return None
        items = [{"image": str(case.image), "case": case.id} for case in cases]
        return overrides | {"output_dir": str(folder), "dataset#data": items}

    def _check_settings(self) -> None:
        settings = self.settings
        if settings.mode not in MODES:
            raise BundleError("unknown mode", stage="settings", expected=", ".join(MODES), found=settings.mode)
        for stage, overrides in settings.overrides.items():
            if stage not in CONFIGS:
                raise BundleError("unknown stage", stage="settings", expected=", ".join(CONFIGS), found=stage)
            check_values(self._names(stage), overrides)
        device_override(settings.device)
        if settings.weights is not None:
            self._check_weights(settings.weights)

    def _check_weights(self, weights: Path) -> None:
        """Both networks load, work at one spacing, and are what `--set` says they should be."""
        for stage in PRNET_STAGES:
            wanted = self.settings.overrides.get(stage, {})
            spacing_mm = wanted.get("spacing_mm") or trained_spacing_mm(weights)
            load_prnet(weights / stage.removeprefix("prnet_"), spacing_mm, wanted.get("patch_size"))

    def _names(self, stage: str) -> list[str]:
        return config_names(stage, self.settings.small)

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

    def _validation_count(self, stage: str) -> int:
        """As configured; but where nobody asked for it, no more than a quarter of the cases."""
        wanted = self.settings.overrides.get(stage, {})
        if "validation_count" in wanted:
            return wanted["validation_count"]
        return min(read_configs(self._names(stage))["validation_count"], len(self.cohort.cases) // 4)


def config_names(stage: str, small: bool) -> list[str]:
    """The stage's config files, those that patch it for two CPU cores after them if `small`."""
    names, patches = CONFIGS[stage]
    return [*names, *patches] if small else list(names)


def _weight_hashes(prnet_dir: Path) -> list[str]:
    """Own or given networks alike: what follows depends on the weights, not on where they come from."""
    return [sha256_of_file(prnet_dir / name / "model.pt") for name in ("coarse", "fine")]


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
        if target.exists() and (not target.is_symlink() or target.resolve() == file.resolve()):
            continue
        target.unlink(missing_ok=True)
        try:
            target.symlink_to(file.absolute())
        except OSError:
            shutil.copyfile(file, target)
    return folder
