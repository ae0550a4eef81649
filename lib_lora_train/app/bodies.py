"""Reading requests: a query, a JSON object, a file; each with a limit."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from ..errors import DataError, SettingsError
from ..export.folder import explained
from ..hosts.base import Host
from .refusals import Forbidden
from .uploads import FILE_LIMIT

_JSON_LIMIT = 2 * 2**20
Reader = Callable[[Request, Host], "AbstractAsyncContextManager[dict[str, Any]]"]


@asynccontextmanager
async def query(request: Request, host: Host) -> AsyncIterator[dict[str, Any]]:
    yield {**request.query_params, **request.path_params}


@asynccontextmanager
async def json(request: Request, host: Host) -> AsyncIterator[dict[str, Any]]:
    """An empty body is an empty object. Only application/json, which no other site's form can send."""
    _require(request, "application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _JSON_LIMIT:
            raise SettingsError("The request is too large.", f"Send at most {_JSON_LIMIT >> 20} MB.")
    try:
        values = msgspec.json.decode(bytes(body) or b"{}")
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The request is no JSON: {error}.", "Send a JSON object.") from error
    if not isinstance(values, dict):
        raise SettingsError("The request is no JSON object.", 'Send something like {"settings": {...}}.')
    yield values


@asynccontextmanager
async def file(request: Request, host: Host) -> AsyncIterator[dict[str, Any]]:
    """The raw body as a temporary file on the data folder's disk, under `received`; gone afterwards if still there."""
    _require(request, "application/octet-stream")
    data_dir = host.data_dir()
    with explained(data_dir), tempfile.TemporaryDirectory(prefix="upload-", dir=_made(data_dir)) as folder:
        received, size = Path(folder) / "body", 0
        with open(received, "wb") as target:
            async for chunk in request.stream():
                size += len(chunk)
                if size > FILE_LIMIT:
                    raise DataError(f"The file is larger than {FILE_LIMIT >> 30} GB.", "Split it.")
                await run_in_threadpool(target.write, chunk)
        yield {**request.query_params, "received": received}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _require(request: Request, kind: str) -> None:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != kind:
        raise Forbidden(f"This route takes only {kind}.", f"Send the header `Content-Type: {kind}`.")
