"""Pipelines in mode `default` on a labelled cohort: on its unlabelled volumes, or on those of the test list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundle.benchmark.results import ACCEPTED, AS_GROWN, HEAD, result_line
from bundle.datasets.dataset import Dataset, read_dataset
from bundle.datasets.links import link_images
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings

Overrides = Mapping[str, Mapping[str, Any]]  # stage -> config key -> value


@dataclass(frozen=True)
class Bench:
    """What all runs of a benchmark share.

    Attributes:
        dataset: the cohort, with labels to score by.
        output: work directory; its `embedding/` is the network that all runs use.
        small: the configuration for two CPU cores.
        device: such as "cuda:0"; None takes a GPU if there is one.
        overrides: of every run.
    """

    dataset: Dataset
    output: Path
    small: bool
    device: str | None
    overrides: Overrides = field(default_factory=dict)

    def train(self) -> Pipeline:
        """Train the embedding network on the unlabelled volumes."""
        pipeline = Pipeline(self._settings(self.output, self.unlabelled_images(), self.dataset.support, "a"))
        pipeline.train_localisation()
        return pipeline

    def on_unlabelled(self, folder: str, overrides: Overrides | None = None) -> Pipeline:
        """On the unlabelled volumes, from the dataset's own support and first strokes."""
        settings = self._settings(
            self.output / folder,
            self.unlabelled_images(),
            self.dataset.support,
            "a",
            overrides=overrides,
            weights=self.output,
        )
        return Pipeline(settings)

    def on_test(self, run: Run, folder: str | None = None, **changes: Any) -> Pipeline:
        """On the test volumes, and the support of `run`."""
        return self.on_images(run, self.test_images(), folder or run.folder, **changes)

    def on_images(self, run: Run, images: Path, folder: str, **changes: Any) -> Pipeline:
        """On a folder of images, and the support of `run`.

        An accepted support mask is the support's label map: what a user has who corrects the grown one.
        """
        accepted = self.dataset.label(run.support) if run.support_mask == ACCEPTED else None
        changes = {"weights": self.output, "support_mask": accepted, **changes}
        return Pipeline(self._settings(self.output / folder, images, run.support, run.variant, **changes))

    def head(self, **further: Any) -> dict[str, Any]:
        """On which data, for the raw results."""
        return result_line(
            HEAD,
            self.dataset.folder.name,
            classes=self.dataset.classes,
            test_cases=list(self.dataset.test),
            unlabelled_cases=list(self.dataset.unlabelled),
            configuration="small" if self.small else "full",
            support=self.dataset.support,
            **further,
        )

    def test_images(self) -> Path:
        """A folder of links to the test volumes."""
        return link_images({case: self.dataset.image(case) for case in self.dataset.test}, self.output / "test_images")

    def unlabelled_images(self) -> Path:
        """A folder of links to the unlabelled volumes."""
        images = {case: self.dataset.image(case) for case in self.dataset.unlabelled}
        return link_images(images, self.output / "unlabelled")

    def _settings(
        self, output: Path, images: Path, support: str, variant: str, overrides: Overrides | None = None, **changes: Any
    ) -> RunSettings:
        return RunSettings(
            output=output,
            images=images,
            support=self.dataset.image(support),
            scribbles=self.dataset.scribbles(variant, support),
            background=self.dataset.background,
            mode="default",
            small=self.small,
            device=self.device,
            overrides=merged(self.overrides, overrides or {}),
            **{"classes": self.dataset.classes, **changes},
        )


def open_bench(
    dataset_folder: Path,
    output: Path | None,
    small: bool,
    device: str | None,
    overrides: Overrides | None = None,
) -> Bench:
    """A bench on the dataset in a folder; `output` None works in `runs/default_NAME`."""
    dataset = read_dataset(dataset_folder)
    output = output or Path("runs") / f"default_{dataset.folder.name}"
    return Bench(dataset, output, small, device, overrides or {})


def merged(first: Overrides, second: Overrides) -> dict[str, dict[str, Any]]:
    """Both, key by key; the second one wins."""
    return {stage: {**first.get(stage, {}), **second.get(stage, {})} for stage in {**first, **second}}


@dataclass(frozen=True)
class Run:
    """One support, its strokes, and its support mask: as grown from them, or accepted by the user."""

    support: str
    variant: str
    support_mask: str

    @property
    def folder(self) -> str:
        """Name of its work directory."""
        return f"{self.support}_{self.variant}_{self.support_mask.replace(' ', '_')}"

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.support} {self.variant}, support mask {self.support_mask}"


def chosen_runs(dataset: Dataset) -> list[Run]:
    """All variants of all supports with the support mask as grown, the first variant with an accepted one too.

    An accepted support mask makes strokes matter for the points alone. First variants come first, accepted masks last:
    a part of the runs then says as much as it can.
    """
    first = first_runs(dataset)
    accepted = [replace(run, support_mask=ACCEPTED) for run in first]
    others = [replace(run, variant=variant) for run in first for variant in dataset.variants(run.support)[1:]]
    return [*first, *others, *accepted]


def first_runs(dataset: Dataset) -> list[Run]:
    """Of every support, its first variant with the support mask as grown."""
    supports = (dataset.support, *dataset.alternative_supports)
    return [Run(support, dataset.variants(support)[0], AS_GROWN) for support in supports]
