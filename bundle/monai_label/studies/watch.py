"""What lies in a folder of studies now: looked for again when somebody asks, and never for long while she waits."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.data.volume_io import FolderScan, LooseSeries, scan_folder

FRESH_S = 2.0  # so long nobody looks again: viewers ask several times a second
PATIENCE_S = 1.0  # a request waits no longer; the next one gets what is found meanwhile
SURE_S = 60.0  # then the folder is searched even if no part of it seems changed: a file can be written where it lies
SHARE = 10  # at most one part in so many of the time goes to searching what is changed again and again


class FolderWatch:
    """Volumes of a folder, as they were a moment ago.

    A look asks each folder for the time of its last change, and reads those again that are others. It is made aside, by
    one thread at a time: the headers of a large folder take seconds. What cannot be searched, as a share that is away,
    or two volumes of one name, leaves what was found before.

    Args:
        folder: of studies.
        names: file that keeps what loose series are called.
        is_wanted: whether a source counts.

    Raises:
        BundleError: it cannot be searched.
    """

    def __init__(self, folder: Path, names: Path, is_wanted: Callable[[Path], bool] = lambda source: True) -> None:
        self.folder, self.names, self.is_wanted = folder, names, is_wanted
        self._volumes: Mapping[str, Path] = {}
        self._scan = FolderScan({}, [])
        self._look: Thread | None = None
        self._one, self._searching = Lock(), Lock()
        self._told = ""
        self.search()
        self._next = time.monotonic() + FRESH_S  # when the folder is looked at again
        self._sure = time.monotonic() + SURE_S  # and searched

    def volumes(self) -> Mapping[str, Path]:
        """Study -> source, see `scan_folder`."""
        if time.monotonic() > self._next:
            with self._one:
                look = self._look
                if look is None or not look.is_alive():
                    look = self._look = Thread(target=self._look_again, daemon=True)
                    look.start()
            look.join(PATIENCE_S)
        return self._volumes

    def search(self) -> None:
        """Search the folder now.

        Raises:
            BundleError: it cannot be searched.
        """
        self._scan_again(anew=True)

    def _look_again(self) -> None:
        begun = time.monotonic()
        is_sure = begun > self._sure
        try:
            if is_sure:
                self.search()
            elif _changed(self._scan):
                self._scan_again(anew=False)
            self._told = ""
        except (BundleError, OSError) as error:  # somebody moves files just now, or removed the folder
            problem = f"the studies are not looked for: {' '.join(str(error).split())}"
            if problem != self._told:
                print(problem, flush=True)
            self._told = problem
        finally:
            now = time.monotonic()
            rest_s = SHARE * (now - begun)
            self._next = now + (FRESH_S if is_sure else max(FRESH_S, rest_s))
            self._sure = now + max(SURE_S, rest_s) if is_sure else self._sure

    def _scan_again(self, anew: bool) -> None:
        with self._searching:  # what another thread has found meanwhile counts, too
            scan = scan_folder(self.folder, FolderScan({}, []) if anew else self._scan)
            kept = read_json(self.names) if self.names.exists() else {}
            volumes, names = with_kept_names(scan, kept)
            if names != kept:
                write_json(self.names, names)
            self._volumes = {study: source for study, source in volumes.items() if self.is_wanted(source)}
            self._scan = scan


def with_kept_names(scan: FolderScan, kept: Mapping[str, str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The volumes, loose series by the names that they were found by first, and these names.

    A scan names a series by patient, date and number, and adds a mark where another has the same: by one that comes or
    goes its name would change, and its labels would seem lost. The name of a series that is away stays its own: another
    one would be shown with its labels. A series that was moved takes its name along.

    Args:
        scan: of the folder.
        kept: key of a series -> its name.
    """
    loose = {series.file: series for place in scan.places.values() for series in place.loose}
    volumes = {study: source for study, source in scan.volumes.items() if source not in loose}
    keys, found = defaultdict[str, list[str]](list), dict[str, str]()
    for key, name in kept.items():
        keys[name].append(key)
    for study, source in sorted(scan.volumes.items(), key=lambda volume: _is_new(loose.get(volume[1]), kept)):
        if series := loose.get(source):
            names = kept.get(series.key, study), study, series.marked_name
            chosen = next((name for name in names if name not in volumes and _may_have(series, keys[name])), None)
            if chosen is None:
                expected, found_there = "one volume a case: rename the other", volumes.get(names[-1])
                raise BundleError(
                    "two volumes have the same name", case=names[-1], file=source, expected=expected, found=found_there
                )
            volumes[chosen], found[series.key] = source, chosen
    given = {*found.values()}
    others = {key: name for key, name in kept.items() if name not in given}
    return dict(sorted(volumes.items())), {**others, **found}


def _is_new(series: LooseSeries | None, kept: Mapping[str, str]) -> bool:
    return series is not None and series.key not in kept


def _may_have(series: LooseSeries, keys: Sequence[str]) -> bool:
    """Whether a name that is kept for these keys can be this series': it is its own, wherever it lay, or nobody's."""
    return series.key in keys or all(series.uid and key.startswith(f"{series.uid} ") for key in keys)


def _changed(scan: FolderScan) -> bool:
    """Whether something was put into one of these folders or taken out, by their times."""
    with suppress(OSError):  # one is gone
        return any(folder.stat().st_mtime_ns != place.changed_ns for folder, place in scan.places.items())
    return True
