"""Part of the results page: other packages' registration, run by us on the same volumes, and ours beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from itertools import chain

from bundle.benchmark.cost.speed import SPEED
from bundle.benchmark.results import (
    ALL_CLASSES,
    ALL_CLASSES_NETWORK,
    ENSEMBLE,
    PROCEDURE,
    RIVAL,
    SUPERVISED,
    Cohort,
    Line,
    Results,
)
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import NOTHING, listed, number, table
from bundle.benchmark.tables.speed import total_s

TRUE_MASK, STROKES, LABELS = "true label map of one volume", "strokes on one volume", "label maps of all volumes"
UNLABELLED = ", unlabelled ones"  # what ours gets beside it, and a pair of volumes has not
COLUMNS = 4  # a cohort


def measured_rivals(cohorts: Mapping[str, Cohort]) -> str:
    """Everyone on the same test volumes; "" before a rival was run."""
    measured = {name: cohort for name, cohort in cohorts.items() if _rivals(cohort).of(RIVAL)}
    if not measured:
        return ""
    lines = [line for cohort in measured.values() for line in _rivals(cohort).of(RIVAL)]
    ours = [line for cohort in measured.values() for line in _lines_of_ours(cohort)]
    words = (
        "Run by us on the same test volumes: each package on single pairs, by its own settings, given the true label "
        "map of the volume that we know strokes of; SyN and convexadam on voxels of 3 mm, convexadam after an affine "
        "map by SimpleITK (`bundle/benchmark/rivals/`). Ours has unlabelled volumes beside it. Mean Dice on the full "
        "original grid of the paper's three organs and of all classes, median CPU seconds a case, most MB of memory: "
        f"{captions.command('rivals', 'COHORT')}; {captions.origin(lines, commits=False)}. Ours from strokes, and the "
        f"supervised network, are those of the tables below, three organs by runs of three classes (atlases alone: the "
        f"first of the nine); "
        f"{captions.origin(ours, commits=False)}."
    )
    header = ["", "is given", *chain.from_iterable(_header(*item) for item in measured.items())]
    rows, learnt = [], {line["name"] for line in lines if "training" in line}
    for name in sorted(dict.fromkeys(line["name"] for line in lines), key=lambda name: name.startswith("ours")):
        unlabelled = name.startswith("ours") or name in learnt
        given = TRUE_MASK + UNLABELLED * unlabelled
        rows.append([name, given, *chain.from_iterable(_rival(cohort, name) for cohort in measured.values())])
    for system, given, row in OURS:
        rows.append([system, given, *chain.from_iterable(map(row, measured.values()))])
    words = " ".join([words, *_learnt(measured)])
    parts = ["## Beside other packages, on the same volumes", words, table(header, rows)]
    return "\n\n".join([*parts, *_procedure(measured)])


def _learnt(cohorts: Mapping[str, Cohort]) -> Iterator[str]:
    """How long rivals that learn were trained, in a sentence; nothing where none was."""
    trained = {
        f"{line['training']['cpu_s'] / 60:.0f} minutes of CPU on {name}": line
        for name, cohort in cohorts.items()
        for line in _rivals(cohort).of(RIVAL)
        if "training" in line
    }
    if trained:
        yield (
            "DataAug (Zhao et al., CVPR 2019) is a compact version of ours on voxels of 4 mm, after an affine map by "
            "SimpleITK from seven starts: VoxelMorph learns displacements from the support to each unlabelled volume, "
            "a second network what has to be added to its grey values, a third one to segment the volumes so made "
            f"(`bundle/benchmark/rivals/data_aug/`). Its training took {listed(list(trained))}; "
            f"{captions.origin(list(trained.values()), commits=False)}. The paper's figures for the original, on other "
            "data, stand further below."
        )


def _procedure(cohorts: Mapping[str, Cohort]) -> Iterator[str]:
    """The paper's procedure in time, beside ours: a paragraph, if a cohort has it."""
    sentences = []
    for name, cohort in cohorts.items():
        speed = cohort.get("speed", Results()).of(SPEED)
        for line in _rivals(cohort).of(PROCEDURE):
            ratios = []
            for count, passes in line["needed"].items():
                taken_s = line["cpu_s_a_pass"] * passes
                ours_s = next((total_s(one) for one in speed if len(one["classes"]) == int(count)), None)
                beside = "" if ours_s is None else f", {taken_s / ours_s:.0f} times the {ours_s:.0f} s of ours"
                ratios.append(f"{passes:,} passes for {count} classes, {taken_s / 60:.0f} minutes{beside}")
            sentences.append(
                f"{name}: {line['cpu_s_a_pass']:.2f} s of processors a pass ({line['measured']:,} measured): "
                f"{'; '.join(ratios)}; {captions.origin([line], commits=False)}."
            )
    if sentences:
        yield " ".join(
            [
                "The paper's public procedure, in time alone: five passes of the coarse network a case and two of the "
                "fine one for every stroke voxel, by networks of the paper's size. The cohorts, and passes and cases "
                "of a cohort, were timed on days when the machine was not equally fast, so that ratios are rough.",
                *sentences,
            ]
        )


def _rivals(cohort: Cohort) -> Results:
    return cohort.get("rivals", Results())


def _header(name: str, cohort: Cohort) -> list[str]:
    every = _rivals(cohort).of(RIVAL)[0]["scores"]["classes"]
    return [f"{name}, {len(_rivals(cohort).head['classes'])}", f"all {len(every)}", "s", "MB"]


def _rival(cohort: Cohort, name: str) -> list[str]:
    line = _rivals(cohort).get(RIVAL, name)
    if line is None:
        return [NOTHING] * COLUMNS
    classes, taken = line["scores"]["classes"], list(line["taken"].values())
    organs = statistics.fmean(classes[organ]["dice_mean"] for organ in _rivals(cohort).head["classes"])
    seconds = f"{statistics.median(entry['cpu_seconds'] for entry in taken):.0f}" if taken else NOTHING
    most = f"{max(entry['peak_memory_mb'] for entry in taken):.0f}" if taken else NOTHING
    return [number(organs), number(line["scores"]["mean_dice"]), seconds, most]


def _of_strokes(few: list[Line], every: list[Line]) -> list[str]:
    return [_mean(few), _mean(every), NOTHING, NOTHING]


def _atlases(cohort: Cohort) -> list[str]:
    default = cohort.get("default", Results())
    return _of_strokes(default.of("run")[:1], default.of(ALL_CLASSES))


def _together(cohort: Cohort) -> list[str]:
    return _of_strokes(_network(cohort, ENSEMBLE), _network(cohort, ENSEMBLE, what=ALL_CLASSES_NETWORK))


def _supervised(cohort: Cohort) -> list[str]:
    return _of_strokes(_network(cohort, SUPERVISED), _network(cohort, SUPERVISED, what=ALL_CLASSES_NETWORK))


def _supervised_in_full(cohort: Cohort) -> list[str]:
    return _of_strokes(_network(cohort, SUPERVISED, "networks"), [])


def _network(cohort: Cohort, name: str, kind: str = "default", what: str = "network") -> list[Line]:
    return [line for line in cohort.get(kind, Results()).of(what) if line["name"] == name]


def _lines_of_ours(cohort: Cohort) -> list[Line]:
    default = cohort.get("default", Results())
    networks = [line for name in (ENSEMBLE, SUPERVISED) for line in _network(cohort, name)]
    everything = [line for name in (ENSEMBLE, SUPERVISED) for line in _network(cohort, name, what=ALL_CLASSES_NETWORK)]
    return [*default.of("run")[:1], *default.of(ALL_CLASSES), *networks, *everything]


def _mean(lines: list[Line]) -> str:
    return number(lines[0]["scores"]["mean_dice"]) if lines else NOTHING


OURS = (
    ("ours, atlases alone", STROKES + UNLABELLED, _atlases),
    ("ours, network and atlases together", STROKES + UNLABELLED, _together),
    ("network, fully supervised", LABELS, _supervised),
    ("the same by the full recipe", LABELS, _supervised_in_full),
)
