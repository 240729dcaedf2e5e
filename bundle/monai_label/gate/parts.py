"""Several objects in one request (multipart/related): each written into a file while it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bundle.monai_label.gate.rules import refusal

MOST_PARTS = 1000
EXPECTED = "DICOM objects as multipart/related"


class PartFiles:
    """Takes a request's body piece by piece; of no part more than a piece is held in memory.

    Args:
        folder: receives a file for each part.
        content_type: of the request.

    Raises:
        BundleError: it is another kind of request.
    """

    def __init__(self, folder: Path, content_type: str) -> None:
        self.folder, self.files = folder, list[Path]()
        self._file: BinaryIO | None = None
        self._is_whole = False
        kind, options = parse_options_header(content_type)
        takers = {"on_part_begin": self._begin, "on_part_data": self._keep, "on_part_end": self.close}
        try:
            if kind != b"multipart/related" or not options.get(b"boundary"):
                raise FormParserError(content_type)
            self._parser = MultipartParser(options[b"boundary"], {**takers, "on_end": self._end})
        except FormParserError as error:
            raise refusal("this is no DICOM", EXPECTED, str(error)) from error

    def write(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            BundleError: it does not go on as such a body does, or there are too many parts.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise refusal("this is no DICOM", EXPECTED, str(error)) from error

    def finish(self) -> list[Path]:
        """The files, when all has come.

        Raises:
            BundleError: the last part was cut off.
        """
        if not self._is_whole:
            raise refusal("this is no DICOM", EXPECTED, "a body that was cut off")
        return self.files

    def close(self) -> None:
        """The part at hand has ended."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        if len(self.files) == MOST_PARTS:
            raise refusal("too many objects in one request", f"at most {MOST_PARTS}", "more")
        self.files.append(self.folder / f"{len(self.files):04d}.dcm")
        self._file = self.files[-1].open("wb")

    def _keep(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._is_whole = True
