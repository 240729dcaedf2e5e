"""What a client may send, as data: names, numbers and settings, judged after they were parsed as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bundle.arguments import MODALITIES
from scripts.common.errors import BundleError

STAGE = "MONAI Label"
Check = Callable[[str, Any], None]  # name, value; raises BundleError
LARGEST_VALUE = 254  # of a segment; 255 are background strokes
SHOWN_CHARACTERS = 80


def refusal(problem: str, expected: object, found: object) -> BundleError:
    """The error of a request that is not taken; of what was sent only plain values are shown."""
    shown = repr(found)[:SHOWN_CHARACTERS] if isinstance(found, str | int | float | None) else type(found).__name__
    return BundleError(problem, stage=STAGE, expected=expected, found=shown)


def _must(fits: Callable[[Any], bool], expected: str) -> Check:
    def check(name: str, value: Any) -> None:
        if not fits(value):
            raise refusal(f"{name!r} cannot have this value", expected, value)

    return check


def _text(pattern: str, expected: str) -> Check:
    return _must(lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, expected)


def _one_of(*texts: str) -> Check:
    return _must(lambda value: isinstance(value, str) and value in texts, " or ".join(texts))


def _number(low: float, high: float) -> Check:
    return _must(lambda value: type(value) in (int, float) and low <= value <= high, f"a number, {low:g} to {high:g}")


def _whole(low: int, high: int) -> Check:
    return _must(lambda value: type(value) is int and low <= value <= high, f"a whole number, {low} to {high}")


FLAG = _must(lambda value: isinstance(value, bool), "true or false")
DEVICE = _text(r"(cpu|cuda(:[0-9]{1,2})?)?", "cpu, cuda, or cuda:0 and so on")
STUDY = _text(
    r"(?!.*\.nii)[^\W_][\w .,+=()&'~^-]{0,127}",
    "a name of letters, digits, blanks and _ . , + = ( ) & ' ~ ^ - that begins with a letter or digit, without suffix",
)
TAG = _text(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "letters, digits, _ and -")
SEGMENT = _text(
    r"[^\W_][\w .,+()&'-]{0,63}",
    "a segment's name of letters, digits, blanks and _ . , + ( ) & ' - that begins with a letter or digit",
)
USER = _text(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,128}", "a name")
CLIENT: dict[str, Check] = {"client_id": lambda name, value: None if value is None else USER(name, value)}

# Settings of stages that a client may change; whoever starts the server may change all of them.
SETTINGS: dict[str, Check] = {
    "embedding.max_epochs": _whole(1, 1000),
    "embedding.iterations_per_epoch": _whole(1, 10_000),
    "embedding.learning_rate": _number(1e-6, 1.0),
    "embedding.seed": _whole(0, 2**31 - 1),
    "embedding.bfloat16": FLAG,
    "support_mask.largest_component": FLAG,
    "pseudo_labels.largest_component": FLAG,
    "segmentation.max_epochs": _whole(1, 1000),
    "segmentation.samples_per_epoch": _whole(1, 100_000),
    "segmentation.batch_size": _whole(1, 64),
    "segmentation.learning_rate": _number(1e-6, 1.0),
    "segmentation.seed": _whole(0, 2**31 - 1),
    "segmentation.bfloat16": FLAG,
    "segmentation.crop_to_body": FLAG,
    "inference.keep_largest": FLAG,
    "self_check.least_dice": _number(0.0, 1.0),
}


def judge(content: Any, rules: Mapping[str, Check]) -> None:
    """Take parsed JSON, or raise.

    Raises:
        BundleError: no object, a key that has no rule, or a value that breaks its rule.
    """
    if not isinstance(content, dict):
        raise refusal("the request holds no JSON object", 'such as {"small": true}', content)
    for name, value in content.items():
        if name not in rules:
            raise refusal("a client cannot set this", ", ".join(rules), name)
        rules[name](name, value)


def parsed(text: str | bytes) -> Any:
    """The JSON of a text.

    Raises:
        BundleError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal("this is no JSON", "JSON", text if isinstance(text, str) else type(error).__name__) from error


def as_json(rules: Mapping[str, Check]) -> Check:
    """A form's field that holds a JSON object."""
    return lambda name, text: judge(parsed(text), rules)


def nested(rules: Mapping[str, Check]) -> Check:
    """An object within an object."""
    return lambda name, content: judge(content, rules)


def client_settings(text: Any) -> list[str]:
    """`STAGE.KEY=VALUE` of each setting that a client sends, written anew from its parsed value.

    Args:
        text: settings, separated by ";".

    Raises:
        BundleError: a key that clients cannot change, or anything else than a plain number or boolean in its range.
    """
    if not isinstance(text, str):
        raise refusal("'set' cannot have this value", "such as segmentation.max_epochs=20;embedding.seed=1", text)
    settings = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, _, value_text = part.partition("=")
        if key not in SETTINGS:
            raise refusal("a client cannot change this setting", ", ".join(SETTINGS), key)
        value = parsed(value_text)
        SETTINGS[key](key, value)
        settings.append(f"{key}={json.dumps(value)}")
    return settings


def _settings(name: str, text: Any) -> None:
    client_settings(text)


def _segments(name: str, rows: Any) -> None:
    if not isinstance(rows, list) or len(rows) > LARGEST_VALUE:
        raise refusal(f"{name!r} cannot have this value", 'a list of {"name": ..., "idx": ...}', rows)
    value = _whole(0, LARGEST_VALUE)
    for row in rows:
        judge(row, {"name": SEGMENT, "idx": value, "id": value})


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (0, 6) and all(type(corner) is int for corner in value)


TRAINING = {"small": FLAG, "device": DEVICE, "modality": _one_of("", *MODALITIES), "set": _settings, **CLIENT}
MODEL = _text(r"[A-Za-z0-9_-]{0,64}", "a model's name, or nothing")  # newer versions of 3D Slicer's module send it
LABEL = {"label_info": _segments, "model": MODEL, **CLIENT}


def inference_rules(devices: Sequence[str]) -> dict[str, Check]:
    """Of a request for a label map: what 3D Slicer and OHIF send.

    Args:
        devices: as the server names them to its clients.
    """
    return {
        "device": _text(
            "|".join(map(re.escape, ["cpu", "cuda", *devices])) + r"|cuda:[0-9]{1,2}", " or ".join(devices)
        ),
        "model_filename": _text(r"[A-Za-z0-9_-]{1,64}\.pt", "a model's file name"),
        "result_extension": _one_of(".nrrd", ".nii.gz", ".nii"),
        "result_dtype": _one_of("uint8", "uint16", "int16", "int32"),
        "result_compress": FLAG,
        "restore_label_idx": FLAG,
        "label_info": _segments,
        "selected_label_name": SEGMENT,
        "roi": _must(_is_box, "no or six whole numbers"),
        **CLIENT,
    }


def allowed_origins(text: str) -> tuple[str, ...]:
    """Origins that whoever starts the server allows besides loopback, "https://viewer.example;http://10.0.0.5:3000".

    Raises:
        BundleError: something that is no origin.
    """
    origins = tuple(filter(None, (part.strip().lower().rstrip("/") for part in text.split(";"))))
    for origin in origins:
        _text(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", "such as https://viewer.example:3000")("--allow-origin", origin)
    return origins
