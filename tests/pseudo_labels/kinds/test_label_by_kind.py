from dataclasses import replace

import numpy as np
import pytest

from scripts.common.affines import to_world
from scripts.data.resampling import canonical
from scripts.data.scribbles import ScribblePoints
from scripts.data.volume_io import Volume
from scripts.pseudo_labels.kinds.label_by_kind import label_by_kind
from scripts.pseudo_labels.kinds.stroke_kind import Kind, KindSettings
from scripts.pseudo_labels.label_case import PseudoLabel
from tests.pseudo_labels.kinds.test_growers import scene

CLASSES = {"first": 5, "second": 3}
LEFT = np.array([[-2.0, 0, 0, 118], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
SETTINGS = KindSettings()


def labelled(settings=SETTINGS, image=None):
    """The scene of `test_growers` on a grid whose first axis runs to the left."""
    own_image, strokes, blobs, _ = scene()
    voxels = np.argwhere(strokes)
    values = strokes[tuple(voxels.T)]
    labels = np.array([0, 5, 3, 0])[values]
    scribbles = ScribblePoints(labels, voxels, to_world(voxels, LEFT))
    grown = PseudoLabel(
        blobs, opened_share={"first": 0.2, "second": 0.0}, border_confidence={"first": 0.95, "second": 0.9}
    )
    upright = canonical(Volume(own_image if image is None else image, LEFT))
    return label_by_kind(upright, scribbles, grown, LEFT, CLASSES, settings)


def test_the_label_map_comes_back_on_the_cases_own_grid():
    *_, first = scene()
    label, kinds = labelled()
    assert kinds == {"first": Kind.TUBE, "second": Kind.TUBE}
    assert (label.channels == 1)[first].mean() > 0.9 and (label.channels == 1)[::-1][first].mean() == 0
    assert label.opened_share == {"first": 0.0, "second": 0.0}, "nothing was opened of what grew anew"


def test_the_confidence_of_a_blob_knows_what_opening_took():
    wide = replace(SETTINGS, tube_width_mm=5.0)
    label, kinds = labelled(wide)
    assert kinds == {"first": Kind.BLOB, "second": Kind.BLOB}
    assert label.border_confidence == {"first": pytest.approx(2 * 0.8 / 1.8, abs=0.001), "second": 0.9}
    assert label.opened_share == {"first": 0.2, "second": 0.0}


def test_strokes_in_air_leave_no_more_than_the_confidence_of_a_hollow_organ():
    image, *_ = scene()
    label, kinds = labelled(replace(SETTINGS, tube_width_mm=5.0), image=1 - image)
    assert kinds == {"first": Kind.HOLLOW, "second": Kind.BLOB}
    assert label.border_confidence == {"first": 0.67, "second": 0.9}
