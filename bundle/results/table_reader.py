"""What a table of results that is there says of label maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bundle.results.files import TableFiles
from scripts.common.errors import BundleError
from scripts.common.files import read_json
from scripts.common.names import is_case_name
from scripts.data.reading.volume import case_id


@dataclass(frozen=True)
class LabelMapRow:
    """One class of a label map.

    Attributes:
        case: identifier.
        class_name: of the class.
        label: value of the class in the label map.
        source: the input file or folder.
        label_map: file.
    """

    case: str
    class_name: str
    label: int
    source: Path
    label_map: Path


def table_of(folder: Path) -> Path:
    """Where the table's JSON file lies in a folder, whether there are label maps beside it or not."""
    return TableFiles.beside_label_maps(folder, map(case_id, folder.glob("*.nii.gz"))).json


def label_map_rows(table: Path) -> list[LabelMapRow]:
    """The rows of a table's JSON file that are of a label map, in their order; none where there is no table.

    Raises:
        BundleError: the table is damaged.
    """
    if not table.exists():
        return []
    expected = "the table as it was left, or no such file"
    content = read_json(table, expected)
    try:
        return [
            LabelMapRow(
                case=columns["case"],
                class_name=str(columns["class"]),
                label=int(columns["label"]),
                source=Path(columns["source"]),
                label_map=table.parent / columns["label_map"],
            )
            for columns in content["rows"]
            if columns["label_map"] and is_case_name(columns["case"])
        ]
    except (KeyError, TypeError, ValueError) as error:
        problem = "the table of results is damaged"
        raise BundleError(problem, file=table, expected=expected, found=repr(error)) from error


def rows_if_whole(table: Path) -> list[LabelMapRow]:
    """See `label_map_rows`; none of a damaged table."""
    try:
        return label_map_rows(table)
    except BundleError:
        return []
