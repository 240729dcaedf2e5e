"""The one exception users see: it names the case, the stage, the file, what was expected and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MOST_SAID = 200  # characters of an error of others


def in_short(error: BaseException, most: int = MOST_SAID) -> str:
    """What an error of others says, in one line of at most so many characters; its kind where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


class BundleError(Exception):
    """A problem the user can act on.

    Args:
        problem: one sentence in plain words.
        case: the case's identifier, if one case is to blame.
        stage: the pipeline stage that noticed.
        file: the file to look at.
        expected: what would have been right.
        found: what was there instead.
    """

    def __init__(
        self,
        problem: str,
        *,
        case: str | None = None,
        stage: str | None = None,
        file: str | Path | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        self.problem, self.case, self.stage = problem, case, stage
        self.file = None if file is None else str(file)
        self.expected, self.found = expected, found
        super().__init__(self._message())

    def within(self, stage: str | None, case: str | None, file: str | Path | None = None) -> BundleError:
        """Itself, with the stage, the case and the file where it names none."""
        self.stage, self.case = self.stage or stage, self.case or case
        self.file = self.file if file is None else self.file or str(file)
        self.args = (self._message(),)
        return self

    def __reduce__(self) -> Any:
        """Itself, attributes and all, in another process."""
        return _rebuilt, (type(self), self.args, self.__dict__)

    def _message(self) -> str:
        where = [f"{name} {value}" for name, value in (("stage", self.stage), ("case", self.case)) if value]
        lines = [f"[{', '.join(where)}] {self.problem}" if where else self.problem]
        details = (("file", self.file), ("expected", self.expected), ("found", self.found))
        lines += [f"  {name}: {value}" for name, value in details if value is not None]
        return "\n".join(lines)


def _rebuilt(kind: type[BundleError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> BundleError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class UnexpectedError(BundleError):
    """A fault of the program: nothing that the user gave is known to be wrong.

    Args:
        error: what was raised.
        case, stage: see `BundleError`.
    """

    def __init__(self, error: BaseException, *, case: str | None = None, stage: str | None = None) -> None:
        super().__init__(
            "this is a fault of the program",
            case=case,
            stage=stage,
            expected="please report it with the lines above; what is done is kept, the same command continues",
            found=f"{type(error).__name__}: {error}",
        )
