"""One thing that the server does for clients, and what a request for it may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from bundle.monai_label.gate.needs import Need
from bundle.monai_label.gate.rules import Check, judge, parsed, refusal
from bundle.monai_label.gate.uploads import check_upload
from scripts.data.volume_io import Volume


@dataclass(frozen=True, eq=False)  # a hash of its own: FastAPI keeps `judge` in a dictionary
class Offer:
    """An endpoint of MONAI Label.

    Args:
        method: such as "GET".
        path: such as "/train/{model}".
        endpoint: MONAI Label's function.
        query: the parameters that it takes; None for any.
        needs: what they must be, those of the path too.
        body: rules of a JSON body; None without one.
        fields: rules of a form's fields.
        files: a form's files, and how each is read.
        raw: the endpoint reads and judges the body itself.
    """

    method: str
    path: str
    endpoint: Callable[..., Any]
    query: tuple[str, ...] | None = ()
    needs: tuple[Need, ...] = ()
    body: Mapping[str, Check] | None = None
    fields: Mapping[str, Check] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], Volume]] = field(default_factory=dict)
    raw: bool = False

    async def judge(self, request: Request) -> None:
        """Take a request, or raise; uploaded files get a name of ours.

        Raises:
            HTTPException: 404, there is no such thing.
            BundleError: anything else that the request must not hold.
        """
        parameters = request.query_params.multi_items()
        for name, _ in parameters:
            if self.query is not None and name not in self.query:
                raise refusal("there is no such parameter", ", ".join(self.query) or "none", name)
        if len(dict(parameters)) < len(parameters):
            raise refusal("a parameter came twice", "each once", str(request.query_params))
        items = (await request.form()).multi_items() if self.fields or self.files else []
        sent = {name for name, content in items if isinstance(content, UploadFile)}
        for need in self.needs:
            need({**dict.fromkeys(sent, ""), **dict(parameters), **request.path_params})
        if self.body is not None and (body := await request.body()):
            judge(parsed(body), self.body)
        for name, content in items:
            self._judge_field(name, content)

    def _judge_field(self, name: str, content: str | UploadFile) -> None:
        if isinstance(content, UploadFile) and name in self.files:
            content.filename = check_upload(content.filename or "", content.file, self.files[name])
        elif isinstance(content, str) and name in self.fields:
            self.fields[name](name, content)
        else:
            raise refusal("there is no such field", ", ".join([*self.fields, *self.files]), name)
