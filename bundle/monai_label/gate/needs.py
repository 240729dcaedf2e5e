"""What the parameters of a request must be: names that can be file names, and things that are there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from fastapi import HTTPException
from monailabel.interfaces.utils.app import app_instance

from bundle.monai_label.gate.rules import STUDY, TAG, refusal
from bundle.monai_label.names import current_name

# Parameters of path and query, and the names of a form's files; raises HTTPException or BundleError.
Need = Callable[[Mapping[str, str]], None]
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
FORMATS = ("", "image", "json", "all")  # of an answer; DICOM SEG is none


def a_new_study(parameters: Mapping[str, str]) -> None:
    """The parameter `image` can name a file of ours."""
    STUDY("image", parameters.get("image"))


def a_tag(parameters: Mapping[str, str]) -> None:
    """The parameter `tag` can name a folder of ours."""
    TAG("tag", parameters.get("tag", "final"))


def a_study(name: str = "image") -> Need:
    """The parameter is a study of the datastore, whose file is there."""

    def need(parameters: Mapping[str, str]) -> None:
        study, datastore = parameters.get(name, ""), app_instance().datastore()
        if study not in datastore.list_images():
            raise _missing(f"there is no study {study[:80]!r}")
        STUDY(name, study)
        if not Path(datastore.get_image_uri(study)).is_file():
            raise _missing(f"the file of study {study!r} is gone")

    return need


def a_label(name: str = "label") -> Need:
    """The parameter and `tag` are a label of the datastore."""

    def need(parameters: Mapping[str, str]) -> None:
        a_study(name)(parameters)
        study, tag = parameters[name], parameters.get("tag", "")
        if tag not in app_instance().datastore().get_labels_by_image_id(study):
            raise _missing(f"study {study!r} has no label of tag {tag[:80]!r}")

    return need


def a_task(kind: str, name: str = "model") -> Need:
    """The parameter is one of the app's tasks, see `OneShotApp.tasks`."""

    def need(parameters: Mapping[str, str]) -> None:
        tasks = app_instance().tasks(kind)
        if current_name(parameters[name]) not in tasks:
            raise _missing(f"there is no {name} {parameters[name][:80]!r}, but {', '.join(tasks)}")

    return need


def a_session(parameters: Mapping[str, str]) -> None:
    """The parameter `session_id` is a session that has not ended."""
    identifier = parameters.get("session_id", "")
    if not re.fullmatch(UUID, identifier) or app_instance().sessions().get_session(identifier) is None:
        raise _missing("there is no such session, or it has ended: load the image again")


def an_image(parameters: Mapping[str, str]) -> None:
    """A session or a study is named, or a file sent; of a session MONAI Label takes the image before all others."""
    if parameters.get("session_id"):
        a_session(parameters)
    elif "file" not in parameters:
        a_study()(parameters)


def a_format(parameters: Mapping[str, str]) -> None:
    """The parameter `output` is a form in which label maps are sent."""
    if parameters.get("output", "") not in FORMATS:
        raise refusal("there is no such output", " or ".join(FORMATS[1:]), parameters["output"])


def a_page(parameters: Mapping[str, str]) -> None:
    """The path is one of the viewer's."""
    if ".." in parameters["path"]:
        raise _missing("there is no such page")


def _missing(sentence: str) -> HTTPException:
    return HTTPException(404, sentence)
