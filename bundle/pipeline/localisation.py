"""How scribbles are located in other volumes, mode by mode: the networks, their spacing, the way to pseudo labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bundle.pipeline.configs import BUNDLE_ROOT, read_configs
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.stages import config_names
from scripts.common.errors import BundleError
from scripts.common.files import read_json, sha256_of_file
from scripts.data.cohort import Cohort
from scripts.data.prepare_cohort import check_alignment
from scripts.data.volume_io import find_volumes, read_labels
from scripts.label_propagation.label_fusion import ON_SUPPORT
from scripts.networks.embedding_weights import load_embedding
from scripts.networks.prnet_weights import load_prnet, trained_spacing_mm
from scripts.pseudo_labels.support_mask import FOLDER as REGION
from scripts.pseudo_labels.support_mask import support_mask_file, support_mask_record
from scripts.quality.records import NETWORK
from scripts.quality.records import STAGE as SELF_CHECK

if TYPE_CHECKING:
    from bundle.pipeline.pipeline import Pipeline

FIRST_ROUND = "first_round"
PREDICTIONS = "predictions"
PSEUDO_LABELS = "pseudo_labels"
TRAINING_LABELS = "training_labels"
CAUTIOUS = {"background_seed_probability": None}  # background ends a class's growth as soon as a class would
FIRST_MASKS = CAUTIOUS | {"probability_weight": 0.0}
CHECKS = f"{SELF_CHECK}_{PSEUDO_LABELS}"  # of the pseudo labels: stage and folder
PRNET_STAGES = ("prnet_coarse", "prnet_fine")


class Localisation(Protocol):
    """What a mode must say and do before there is anything to segment.

    Attributes:
        networks: sub-folders of the networks it needs in a set of weights.
    """

    networks: tuple[str, ...]

    def __init__(self, settings: RunSettings) -> None: ...

    def check_weights(self, weights: Path) -> None:
        """Refuse given weights that do not load or do not fit, before any work."""

    def spacing_mm(self) -> list[float]:
        """The working spacing."""

    def check_accepted(self, cohort: Cohort) -> None:
        """Refuse a region or accepted label maps that do not fit, before any work."""

    def train(self, pipeline: Pipeline) -> None:
        """Train the networks."""

    def grow_support_mask(self, pipeline: Pipeline) -> None:
        """The support's whole organs from its scribbles."""

    def propagate(self, pipeline: Pipeline) -> None:
        """From the support's scribbles to pseudo labels of every case."""

    def training_labels(self, pipeline: Pipeline) -> Path:
        """The folder of the pseudo labels that the segmentation network learns from, up to date."""

    def segmentation_needs(self, pipeline: Pipeline) -> tuple[dict[str, Any], Any, list[str]]:
        """Config keys of the segmentation stage, fingerprint of its further inputs, stages that it comes after."""

    def infer(self, pipeline: Pipeline) -> None:
        """From the trained network to label maps in `predictions/`."""

    def self_check(self, pipeline: Pipeline) -> None:
        """Say how far to trust the label maps in `predictions/`."""


def _check_region(region: Path, cohort: Cohort) -> None:
    label = read_labels(region)
    check_alignment(label, cohort.cases[cohort.support], region, "region's voxels")
    missing = [name for name, value in cohort.classes.items() if not (label.array == value).any()]
    if missing:
        raise BundleError(
            "the region lacks a class",
            case=cohort.support,
            stage="settings",
            file=region,
            expected=", ".join(f"{name} {value}" for name, value in cohort.classes.items()),
            found="no " + ", ".join(missing),
        )


class PaperLocalisation:
    """Coarse and fine PRNet, then point by point."""

    networks = ("coarse", "fine")

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def check_weights(self, weights: Path) -> None:
        """Both networks load, work at one spacing, and are what `--set` says they should be."""
        for stage, name in zip(PRNET_STAGES, self.networks, strict=True):
            wanted = self.settings.overrides.get(stage, {})
            spacing_mm = wanted.get("spacing_mm") or trained_spacing_mm(weights)
            load_prnet(weights / name, spacing_mm, wanted.get("patch_size"))

    def check_accepted(self, cohort: Cohort) -> None:
        """Mode `paper` knows strokes only."""
        for name, given in (("support_mask", self.settings.support_mask), ("accepted", self.settings.accepted)):
            if given is not None:
                raise BundleError(
                    f"--{name} is of no use in mode paper", stage="settings", file=given, expected="mode default"
                )

    def spacing_mm(self) -> list[float]:
        """Of the given weights, or as configured; one for both networks."""
        if self.settings.weights is not None:
            return trained_spacing_mm(self.settings.weights)
        chosen = [dict(self.settings.overrides.get(stage, {})).get("spacing_mm") for stage in PRNET_STAGES]
        if chosen[0] != chosen[1]:
            raise BundleError(
                "both PRNets need one spacing", stage="settings", expected="the same spacing_mm", found=chosen
            )
        return chosen[0] or read_configs(config_names("prnet_coarse", self.settings))["spacing_mm"]

    def train(self, pipeline: Pipeline) -> None:
        """One after the other."""
        for stage, name in zip(PRNET_STAGES, self.networks, strict=True):
            pipeline.train_unsupervised(stage, pipeline.output / "prnet" / name)

    def grow_support_mask(self, pipeline: Pipeline) -> None:
        """Mode `paper` has none."""
        raise BundleError("mode paper grows no support mask", stage="support_mask", expected="mode default")

    def propagate(self, pipeline: Pipeline) -> None:
        """Points, then geodesic masks."""
        prnet_dir = self.settings.weights or pipeline.output / "prnet"
        # Own or given networks alike: what follows depends on the weights, not on where they come from.
        weights = [sha256_of_file(prnet_dir / name / "model.pt") for name in self.networks]
        inputs = [pipeline.image_hashes(), pipeline.scribble_hashes(), weights]
        pipeline.run_stage("point_propagation", {"prnet_dir": str(prnet_dir)}, inputs)
        labels = {"fine_dir": str(prnet_dir / "fine")}
        pipeline.run_stage(PSEUDO_LABELS, labels, inputs, after=["point_propagation"])

    def training_labels(self, pipeline: Pipeline) -> Path:
        """The pseudo labels."""
        return pipeline.output / PSEUDO_LABELS

    def segmentation_needs(self, pipeline: Pipeline) -> tuple[dict[str, Any], Any, list[str]]:
        """The pseudo labels; the paper's network starts afresh."""
        return {}, None, [PSEUDO_LABELS]

    def infer(self, pipeline: Pipeline) -> None:
        """The network's label maps."""
        pipeline.predict(pipeline.output / PREDICTIONS)

    def self_check(self, pipeline: Pipeline) -> None:
        """The paper has none."""


class DefaultLocalisation:
    """One embedding network, a smooth map between bodies, points and the support's whole region."""

    networks = ("embedding",)

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def check_weights(self, weights: Path) -> None:
        """The network loads and works at the spacing that `--set` asks for."""
        load_embedding(weights / "embedding", self.settings.overrides.get("embedding", {}).get("spacing_mm"))

    def spacing_mm(self) -> list[float]:
        """Of the given weights, or as configured."""
        if self.settings.weights is not None:
            return read_json(self.settings.weights / "embedding" / "model.json")["spacing_mm"]
        wanted = self.settings.overrides.get("embedding", {}).get("spacing_mm")
        return wanted or read_configs(config_names("embedding", self.settings))["spacing_mm"]

    def check_accepted(self, cohort: Cohort) -> None:
        """The region on the support's grid, with every class in it; accepted label maps on their cases' grids."""
        if self.settings.support_mask is not None:
            _check_region(self.settings.support_mask, cohort)
        for case, file in self._accepted().items():
            if case not in cohort.cases or case == cohort.support:
                raise BundleError(
                    "an accepted label map belongs to no case",
                    case=case,
                    stage="settings",
                    file=file,
                    expected="the name of a case but the support, whose label map is --region",
                )
            check_alignment(read_labels(file), cohort.cases[case], file, "accepted label map's voxels", "the case's")

    def train(self, pipeline: Pipeline) -> None:
        """The embedding network."""
        pipeline.train_unsupervised("embedding", pipeline.output / "embedding")

    def propagate(self, pipeline: Pipeline) -> None:
        """The support's region, then points, votes and masks in every case; the best cases vote in a second round."""
        self.grow_support_mask(pipeline)
        overrides = {
            "embedding_dir": str(self._embedding_dir(pipeline)),
            "support_mask": str(self.support_mask(pipeline)),
        }
        inputs = self._inputs(pipeline)
        first = {"results_dir": str(pipeline.output / FIRST_ROUND)}
        pipeline.run_stage("first_round", overrides | first, inputs)
        # The first masks only vote, on the working grid: no finer one is needed. Their paths know intensities alone:
        # probabilities come from one voter so far, and where it says too much, all would.
        coarse = first | {"geodesic_spacing_mm": list(pipeline.cohort.spacing_mm)}
        pipeline.run_stage(
            PSEUDO_LABELS, coarse, inputs, after=["first_round"], variant=FIRST_ROUND, changes=FIRST_MASKS
        )
        accepted, seen = self._accepted_files(), self._seen(pipeline)
        fusion = {"first_dir": first["results_dir"], "embedding_dir": overrides["embedding_dir"], "accepted": accepted}
        pipeline.run_stage("label_fusion", fusion, seen, after=[f"{PSEUDO_LABELS}_{FIRST_ROUND}"])
        pipeline.run_stage(PSEUDO_LABELS, {"given": self._given(pipeline)}, seen, after=["label_fusion"])
        on_support = pipeline.output / ON_SUPPORT
        if (on_support / "propagation").exists():
            tested = {"results_dir": str(on_support)}
            pipeline.run_stage(PSEUDO_LABELS, tested, inputs, after=["label_fusion"], variant=ON_SUPPORT)
        self._check(pipeline, PSEUDO_LABELS, seen, [PSEUDO_LABELS, f"{PSEUDO_LABELS}_{ON_SUPPORT}"], PSEUDO_LABELS)

    def training_labels(self, pipeline: Pipeline) -> Path:
        """Pseudo labels that rather claim too little: what is too much in one case, a network claims in all."""
        folder = pipeline.output / TRAINING_LABELS
        labels = {"given": self._given(pipeline), "labels_dir": str(folder)}
        pipeline.run_stage(
            PSEUDO_LABELS, labels, self._seen(pipeline), folder, ["label_fusion"], TRAINING_LABELS, CAUTIOUS
        )
        return folder

    def segmentation_needs(self, pipeline: Pipeline) -> tuple[dict[str, Any], Any, list[str]]:
        """The embedding network, which knows the anatomy already, and what to think of each pseudo label."""
        start = self._embedding_dir(pipeline)
        keys = {"start_from": str(start), "checks_dir": str(pipeline.output / CHECKS)}
        return keys, sha256_of_file(start / "model.pt"), [f"{PSEUDO_LABELS}_{TRAINING_LABELS}", CHECKS]

    def infer(self, pipeline: Pipeline) -> None:
        """The network joins the voters; label maps grow from what they say together, as the pseudo labels did."""
        network, predictions = pipeline.output / NETWORK, pipeline.output / PREDICTIONS
        pipeline.predict(network, {"probabilities_dir": str(pipeline.output / "propagation")})
        masks = {"results_dir": str(network), "labels_dir": str(predictions), "given": self._given(pipeline)}
        decided = {"undecided_margin": 0.0}
        seen = self._seen(pipeline)
        pipeline.run_stage(PSEUDO_LABELS, masks, seen, predictions, ["inference"], PREDICTIONS, decided)

    def self_check(self, pipeline: Pipeline) -> None:
        """By how far result, network, one-shot mask and every voter agree."""
        after = [PSEUDO_LABELS, f"{PSEUDO_LABELS}_{PREDICTIONS}"]
        self._check(pipeline, PREDICTIONS, self._seen(pipeline), after)

    def _check(self, pipeline: Pipeline, results: str, inputs: Any, after: Sequence[str], variant: str = "") -> None:
        """Check the label maps in the folder `results` of the work directory, into `self_check` or its variant."""
        folder = pipeline.output / (f"{SELF_CHECK}_{variant}" if variant else SELF_CHECK)
        record = self.support_mask_record(pipeline)
        overrides = {
            "support_mask": str(self.support_mask(pipeline)),
            "support_mask_record": None if record is None else str(record),
            "results_dir": str(pipeline.output / results),
            "checks_dir": str(folder),
        }
        pipeline.run_stage(SELF_CHECK, overrides, inputs, after=after, variant=variant)

    def _seen(self, pipeline: Pipeline) -> list[Any]:
        """Fingerprints of all that the votes depend on."""
        hashes = {case: sha256_of_file(file) for case, file in self._accepted().items()}
        return [*self._inputs(pipeline), *([hashes] if hashes else [])]

    def _given(self, pipeline: Pipeline) -> dict[str, str]:
        """Case -> label map that is taken as it is."""
        region = (
            {} if self.settings.support_mask is None else {pipeline.cohort.support: str(self.settings.support_mask)}
        )
        return self._accepted_files() | region

    def _accepted_files(self) -> dict[str, str]:
        return {case: str(file) for case, file in self._accepted().items()}

    def _inputs(self, pipeline: Pipeline) -> list[Any]:
        files = (self._embedding_dir(pipeline) / "model.pt", self.support_mask(pipeline))
        return [pipeline.image_hashes(), pipeline.scribble_hashes(), *(sha256_of_file(file) for file in files)]

    def _accepted(self) -> dict[str, Path]:
        """Case -> label map that the user accepted, in the order of names."""
        if self.settings.accepted is None:
            return {}
        if not self.settings.accepted.is_dir():
            raise BundleError(
                "the folder of accepted label maps is missing", stage="settings", file=self.settings.accepted
            )
        return {case: file.absolute() for case, file in find_volumes(self.settings.accepted).items()}

    def _embedding_dir(self, pipeline: Pipeline) -> Path:
        return (self.settings.weights or pipeline.output) / "embedding"

    def support_mask(self, pipeline: Pipeline) -> Path:
        """The support's label map: accepted by the user, or as grown."""
        return self.settings.support_mask or support_mask_file(pipeline.output, pipeline.cohort.support)

    def support_mask_record(self, pipeline: Pipeline) -> Path | None:
        """What was found when the region was grown; None where the user gave it."""
        return None if self.settings.support_mask else support_mask_record(pipeline.output, pipeline.cohort.support)

    def grow_support_mask(self, pipeline: Pipeline) -> None:
        """From the strokes, unless the user gave the region."""
        if self.settings.support_mask is not None:
            return
        inputs = [pipeline.cohort.cases[pipeline.cohort.support].sha256, pipeline.scribble_hashes()]
        pipeline.run_stage("support_mask", {}, inputs, folder=pipeline.output / REGION)


LOCALISATIONS: dict[str, type[Localisation]] = {"paper": PaperLocalisation, "default": DefaultLocalisation}


def weights_folder(name_or_folder: str, mode: str) -> Path:
    """A shipped set of weights by name, or a folder holding the mode's networks (or `prnet/` with them).

    Raises:
        BundleError: neither.
    """
    networks = LOCALISATIONS[mode].networks
    shipped = sorted(path.parent.name for path in (BUNDLE_ROOT / "models").glob(f"*/{networks[0]}"))
    given = Path(name_or_folder)
    for folder in (BUNDLE_ROOT / "models" / name_or_folder, given, given / "prnet"):
        if all((folder / name / "model.pt").is_file() for name in networks):
            return folder.absolute()
    names = ", ".join(shipped) or "none is shipped"
    files = " and ".join(f"{name}/model.pt" for name in networks)
    raise BundleError(
        f"no weights for mode {mode} of that name or in that folder",
        stage="settings",
        expected=f"a shipped set ({names}), or a folder with {files}",
        found=name_or_folder,
    )
