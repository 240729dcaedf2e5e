"""The README of a network that a user trained with `oneshot`, in the layout of the model zoo."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from bundle.arguments import DEFAULT_MODE
from bundle.benchmark.tables.markdown import number, table
from bundle.pipeline.settings import saved_settings
from scripts.common.schema import TEXT, list_of, whole
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import load_cohort
from scripts.data.gate.modality import CT, MR
from scripts.quality.records import CheckRecord

# What the card of a user's network says besides that; `segmenter.CARD` has the rest.
TRAINING = {
    "training_cases": list_of(TEXT, 1, 1_000_000),
    "max_epochs": whole(1, 1_000_000),
    "samples_per_epoch": whole(1, 1_000_000_000),
}
NAMES = ("training_cases", "validation_cases")  # of patients, where archives name series by these
INPUT = {
    CT: "one channel, CT in HU, any grid; resampled inside.",
    MR: "one channel, MR of the kind that it was trained on, any grid; scaled by percentiles inside the body and "
    "resampled inside.",
}
COMMANDS = """python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir OUTPUT
python -m monai.bundle run --config_file configs/evaluate.json --predictions_dir OUTPUT --labels_dir LABELS
python -m monai.bundle run --config_file configs/train.json --dataset_dir WORK --output_dir OUTPUT
python -m monai.bundle ckpt_export --net_id network_def --filepath models/model.ts --ckpt_file models/model.pt \
--meta_file configs/metadata.json --config_file configs/inference.json"""
PICTURE = "images/overview.svg"


def nameless(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card as others may read it: how many cases a network was trained on, and not what they are called."""
    counts = {key.replace("cases", "case_count"): len(card[key]) for key in NAMES if key in card}
    return {key: value for key, value in card.items() if key not in NAMES} | counts


def mode_of(work: WorkFolder) -> str:
    """In which mode a run's network was made."""
    return str(saved_settings(work.path).get("mode", DEFAULT_MODE))


def task_readme(name: str, metadata: Mapping[str, Any], card: Mapping[str, Any], work: WorkFolder) -> str:
    """The model card, with the headings of the zoo's template.

    Args:
        name: of the package.
        metadata: of the package.
        card: `model.json`.
        work: output folder of `oneshot`.
    """
    words = [label.replace("_", " ") for label in card["classes"]]
    settings, support = saved_settings(work.path), load_cohort(work.path).support
    cases, modality = len({*card["training_cases"]} - {support}), card["modality"].upper()
    values = ", ".join(f"{value} {label}" for label, value in card["classes"].items())
    sections = {
        f"# {name}": "",
        "### **Authors**": metadata["authors"],
        "### **Tags**": f"Segmentation, {modality}, {', '.join(words)}, Weakly-supervised, One-shot",
        "## **Model Description**": "![From one scribbled volume and a folder of unlabelled ones to label maps and a "
        f"network]({PICTURE})\n\n`{name}` segments {', '.join(words)} in {modality}. It was learned without label "
        f"maps: from the scribbles of one volume and {cases} unlabelled ones, after arXiv 2111.10773 and what "
        "`docs/method.md` adds.\n\nResearch use only. Not to be used for diagnostic purposes.",
        "#### **Input and output**": f"In: {INPUT[card['modality']]} Out: a label map on the image's own grid: "
        f"0 background, {values}.",
        "## **Data**": "The images a network was trained on, and their terms: `docs/data_license.txt`.",
        "#### **Preprocessing**": f"Volumes are turned to RAS axes, scaled, and resampled to {card['spacing_mm']} mm.",
        "## **Performance**": _performance(work),
        "## **Additional Usage Steps**": f"Run from the bundle's root folder.\n\n```\n{COMMANDS}\n```\n\n`WORK` is an "
        "output folder of the one-shot pipeline, `LABELS` a folder of label maps, both with the values above. TensorRT "
        "is not supported.",
        "## **System Configuration**": f"Mode {mode_of(work)}"
        f"{', for two CPU cores' if settings.get('small') else ''}; {card['max_epochs']} epochs of "
        f"{card['samples_per_epoch']} volumes, windows of {card['patch_size']} voxels of {card['spacing_mm']} mm. The "
        "main settings: `models/model.json`.",
        "## **Limitations**": "Its pseudo labels were made by label propagation and can be wrong for whole organs of "
        "unusual bodies; no label map was used to find out. Look at results before using them.",
        "## **Citation Info**": "Cite the paper whose method this follows: [1].",
        "## **References**": "\n".join(f"[{n}] {text}" for n, text in enumerate(metadata["references"], start=1)),
        "## **License**": "Code and weights: `LICENSE`, and the terms in `docs/data_license.txt`.",
    }
    return "\n\n".join(part for section in sections.items() for part in section if part) + "\n"


def _performance(work: WorkFolder) -> str:
    """Table of what the self-check predicts."""
    records = [CheckRecord.read(file) for file in sorted(work.self_check.glob("*.json"))]
    if not records:
        return "Not measured: nobody has labelled these images, and this mode has no self-check."
    rows = []
    for name in records[0].classes:
        checks = [record.classes[name] for record in records]
        predicted = [check.predicted_dice for check in checks]
        flagged = sum(check.flagged for check in checks)
        spread = f"{number(min(predicted))} to {number(max(predicted))}"
        rows.append([name, number(statistics.fmean(predicted)), spread, f"{flagged} of {len(checks)}"])
    return (
        f"No label maps were used, so there is no measured Dice. What the self-check predicts for {len(records)} "
        "unlabelled volumes (of label maps made by the network and by label fusion together):\n\n"
        + table(["class", "predicted Dice, mean", "range", "flagged"], rows)
    )
