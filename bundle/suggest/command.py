"""`python -m bundle suggest`: a cohort without a stroke in, the volumes that are best scribbled out."""

from __future__ import annotations

import argparse
import shlex
from contextlib import suppress
from pathlib import Path

from bundle.computing_device import uses_gpu
from bundle.folder_lock import only_command_in
from bundle.output_folder import refuse_foreign
from bundle.pipeline.configs import device_override, run_config
from bundle.pipeline.modes import weights_folder
from bundle.pipeline.stages import BASES
from bundle.pipeline.state import WorkDirectory
from bundle.progress.run import RunProgress
from bundle.suggest.page import OWN_NAMES, write_page
from bundle.suggest.suggestion import NONE_WHOLE, read_suggestion, text_table
from scripts.common.errors import BundleError
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.gate.modality import AUTO
from scripts.data.prepare_cohort import prepare_cohort
from scripts.data.stroke_classes import dataset_labels
from scripts.data.volume_io import refuse_images_among_results
from scripts.networks.embedding_weights import WEIGHTS, load_embedding, trained_spacing_mm
from scripts.networks.loading import check_modality, without_bias_field

STAGE = "suggest"
CLASSES = "ORGAN_1:1,ORGAN_2:2"  # where no file beside the images names them
LEAST_VOLUMES = 3  # of two, none is more like the others


def run(options: argparse.Namespace) -> None:
    """Compare all volumes, print them in order, write the page; run again, it does what is missing.

    Args:
        options: as `bundle.arguments` describes them.

    Raises:
        BundleError: whatever is wrong with the volumes or the weights, before any work.
    """
    if options.count is not None and options.count < 1:
        problem = "nothing would be proposed"
        raise BundleError(problem, stage=STAGE, expected="--count of 1 or more", found=options.count)
    # What one volume has of another is seen on the coarse grid of the small configuration.
    weights = weights_folder(options.weights or str(options.output), "default", small=True)
    count = {} if options.count is None else {"count": options.count}
    values = count | device_override(options.device)
    work = WorkFolder(options.output.absolute())
    progress = RunProgress(work.progress)
    with progress.whole():
        cohort = suggest(options.images, weights / "embedding", work, values, progress, options.modality or AUTO)
        ranking = read_suggestion(work.suggestion_record)
        first = next(one for one in ranking if one.proposed)
        step = next_step(cohort, first.case, options)
        write_page(work.suggestion.page, cohort, ranking, step)
    print(text_table(ranking))
    if not first.shows_field:
        print(NONE_WHOLE)
    print(f"pictures: {work.suggestion.page}")
    print(f"next: look at the pictures, draw strokes in one of these volumes, then {OWN_NAMES}\n  {step}")


def suggest(
    images: Path,
    embedding: Path,
    work: WorkFolder,
    values: dict[str, object],
    progress: RunProgress,
    modality: str = AUTO,
) -> Cohort:
    """Prepare the cohort and rank it; `OUTPUT/suggest.json` says how.

    Args:
        images: folder of volumes.
        embedding: folder of the network that describes bodies.
        work: the work directory.
        values: key of `configs/suggest.json` -> value.
        progress: of the command.
        modality: what the volumes are; "auto" takes what most of them are.
    """
    refuse_images_among_results(images, work.path, work.names(), STAGE)
    refuse_foreign(work, [embedding])
    load_embedding(embedding)
    with only_command_in(work.path):
        cohort = prepare_cohort(
            images,
            work.path,
            trained_spacing_mm(embedding),
            minimum_cases=LEAST_VOLUMES,
            modality=modality,
            bias_correction=without_bias_field(embedding, WEIGHTS),
            check=lambda cohort: check_modality(embedding, WEIGHTS, cohort.modality),
        )
        places = {"output_dir": str(work.path), "embedding_dir": str(embedding)}

        def compare() -> bool:
            run_config(BASES[STAGE], places | values)
            return True

        progress.begin([(STAGE, STAGE)])
        with progress.stage(STAGE):
            WorkDirectory(work).run(STAGE, compare)
    return cohort


def next_step(cohort: Cohort, case: str, options: argparse.Namespace) -> str:
    """The command for the volume, once it has strokes; in capitals is what the user has other words for."""
    words = [*options.program.split(), "oneshot", "--images", str(options.images)]
    words += ["--support", str(cohort.cases[case].source), "--scribbles", "STROKES.nii.gz"]
    words += [] if _are_classes_named(options.images) else ["--classes", CLASSES]
    words += ["--output", str(options.output)]
    words += ["--modality", options.modality] if options.modality else []
    words += ["--device", options.device] if options.device else []
    words += ["--weights", options.weights] if options.weights else []
    return shlex.join(words if uses_gpu(options.device) else [*words, "--small"])


def _are_classes_named(images: Path) -> bool:
    """Whether the file beside the images folder names them; what is wrong with it is for `oneshot` to say."""
    with suppress(BundleError):
        return dataset_labels(images) is not None
    return True
