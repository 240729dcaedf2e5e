"""The files of one propagated case, as both rounds write them: class probabilities, drawn points, the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.files import open_nifti, write_nifti
from scripts.common.work_folder import PropagationFolder
from scripts.data.case import Case
from scripts.data.probability_maps import write_probabilities
from scripts.data.records import PropagationRecord
from scripts.points.propagated_points import draw_kept


def write_case(
    folder: PropagationFolder,
    record: PropagationRecord,
    case: Case,
    background: int,
    probabilities: np.ndarray | None,
    affine: np.ndarray,
) -> tuple[dict[str, Any], list[Path]]:
    """Write a case's probabilities and draw its kept points; returns the content of its record and the files.

    Args:
        folder: where they go.
        record: of the case.
        case: on whose own grid points are drawn.
        background: value that background points are drawn with.
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid, background first; None writes none.
        affine: (4, 4) of the working grid.
    """
    content, files = record.to_json(), [folder.scribbles(case.id)]
    image = open_nifti(case.image)
    drawn = draw_kept(record.points, image.affine, case.shape, background)
    write_nifti(folder.scribbles(case.id), drawn, image.affine, like=image)
    if probabilities is not None:
        files.append(folder.probabilities(case.id))
        write_probabilities(folder.probabilities(case.id), probabilities, affine)
    return content, files
