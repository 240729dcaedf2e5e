"""The paper's procedure in time: what is counted, and the sentence beside ours."""

import numpy as np
import pytest

from bundle.benchmark.cost.speed import SPEED
from bundle.benchmark.results import HEAD, PROCEDURE, RIVAL, Results, result_line
from bundle.benchmark.rivals.procedure import has_networks, measure_procedure
from bundle.benchmark.rivals.table import measured_rivals
from bundle.datasets.dataset import read_dataset
from bundle.datasets.phantom_cohort import write_phantom_cohort
from scripts.data.volume_io import read_labels
from tests.pipeline_fixtures import make_weights


def test_every_voxel_of_a_class_and_every_second_one_of_background_takes_two_passes(tmp_path):
    dataset = read_dataset(write_phantom_cohort(tmp_path / "phantoms", 3, 1, spacing_mm=(12.0, 12.0, 15.0)))
    assert not has_networks(dataset, tmp_path / "models")
    make_weights(tmp_path / "models" / "phantoms" / "full", 12.0)
    assert has_networks(dataset, tmp_path / "models")
    line = measure_procedure(dataset, tmp_path / "models", seconds=0)
    assert line["measured"] == 5 + 2 * 32, "one batch"
    assert line["cpu_s_a_pass"] > 0
    strokes = read_labels(dataset.scribbles()).array
    background = -(-int((strokes == dataset.background).sum()) // 2)
    few, every = (np.isin(strokes, list(classes.values())).sum() for classes in (dataset.classes, dataset.all_classes))
    assert line["needed"] == {"4": 5 + 2 * (few + background), "6": 5 + 2 * (every + background)}
    assert few < every


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        ({"step": {"cpu_s": 10.0}, "of the step": {"cpu_s": 9.0}}, "40 minutes, 240 times the 10 s of ours"),
        (None, "2,400 passes for 3 classes, 40 minutes; "),
    ],
)
def test_the_paper_takes_that_many_times_as_long(speed, words):
    procedure = result_line(PROCEDURE, "passes", measured=69, cpu_s_a_pass=1.0, needed={"3": 2400})
    scores = {"classes": {"liver": {"dice_mean": 0.9}}, "mean_dice": 0.9}
    rival = result_line(RIVAL, "SyN", scores=scores, taken={})
    cohort = {"rivals": Results((result_line(HEAD, "toy", classes=["liver"]), rival, procedure))}
    if speed is not None:
        line = result_line(SPEED, "3 classes", shape=[9, 9, 9], classes=["a", "b", "c"], steps=speed)
        cohort["speed"] = Results((result_line(HEAD, "toy", support="s", case="t"), line))
    text = measured_rivals({"toy": cohort})
    assert "1.00 s of processors a pass (69 measured): 2,400 passes for 3 classes" in text
    assert words in text
