"""The stand-alone page: the same tab beside a small txt2img panel and LoRA cards, on this machine only."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import webbrowser
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..app.jobs import JobRunner
from ..app.routes import add_routes
from ..errors import TrainLoraError
from ..hosts.base import Host
from ..settings.load import to_mapping
from ..settings.schema import Settings
from . import cards, gradio_compat, tab, txt2img

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = sorted((ROOT / "javascript").glob("*.js"))
OURS = "/train-lora/page"


def serve(host: Host, port: int = 7869, open_browser: bool = True, defaults: Settings | None = None) -> None:
    """Serve the page on 127.0.0.1 until interrupted. `defaults` is the recipe a first visitor finds.

    Raises TrainLoraError when the port cannot be had.
    """
    with _bound(port) as listener:  # first, so that nobody is sent to what another program serves there
        server = uvicorn.Server(uvicorn.Config(application(host, defaults), log_level="warning"))
        address = f"http://127.0.0.1:{port}/"
        print(f"Train LoRA: {address}", flush=True)
        if open_browser:
            threading.Timer(1.0, webbrowser.open, [address]).start()
        with suppress(KeyboardInterrupt):  # the user's way to end it
            server.run(sockets=[listener])


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        if os.name != "nt":  # there it would let two programs have the same port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        remedy = "Close what uses it (this page in another window?), or choose another one with --port."
        raise TrainLoraError(f"Port {port} cannot be used: {why}.", remedy) from error
    return listener


def application(host: Host, defaults: Settings | None = None, runner: JobRunner | None = None) -> FastAPI:
    """The app with page, our routes and the cards. `runner` is the process's one unless given."""
    app = gradio_compat.mount(FastAPI(), page(host, defaults))
    table = [
        Route("/cards", lambda _request: JSONResponse(cards.cards(host.lora_dir()))),
        Route("/thumbnail", _thumbnail(host)),
        Route("/style.css", lambda _request: FileResponse(ROOT / "style.css")),
        Route("/standalone.js", lambda _request: FileResponse(Path(__file__).with_name("standalone.js"))),
        Route("/standalone.css", lambda _request: FileResponse(Path(__file__).with_name("standalone.css"))),
        Mount("/javascript", StaticFiles(directory=ROOT / "javascript")),
    ]
    app.router.routes.insert(0, Mount(OURS, routes=table))  # before the page, which answers to everything
    add_routes(app, host, runner)
    app.middleware("http")(_with_scripts)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "testserver"])
    return app


def page(host: Host, defaults: Settings | None = None) -> gr.Blocks:
    """Both tabs, in the order and with the ids of A1111's."""
    key = hashlib.sha256(str(host.data_dir().resolve()).encode()).hexdigest()[:12]
    with gradio_compat.blocks(tab.TITLE, fill_width=True) as blocks, gr.Tabs(elem_id="tabs", selected=tab.NAME):
        with gradio_compat.tab("txt2img", "txt2img"):
            txt2img.panel(host, defaults or Settings())
        with gradio_compat.tab(tab.TITLE, tab.NAME):
            tab.frame(to_mapping(defaults) if defaults else None, key)
    return blocks


def _thumbnail(host: Host) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        lora = cards.find(host.lora_dir(), request.query_params.get("name", ""))
        picture = cards.thumbnail(lora) if lora else None
        return FileResponse(picture) if picture else Response(status_code=404)

    return endpoint


async def _with_scripts(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Puts our scripts into the page's head, before gradio's own, as the web UIs do it."""
    response = await call_next(request)
    if request.url.path != "/" or not response.headers.get("content-type", "").startswith("text/html"):
        return response
    body = b"".join([chunk async for chunk in response.body_iterator])
    headers = {k: v for k, v in response.headers.items() if k not in ("content-length", "content-encoding")}
    return Response(body.replace(b"</head>", _head() + b"</head>", 1), response.status_code, headers)


def _head() -> bytes:
    files = ["standalone.js", *(f"javascript/{path.name}" for path in SCRIPTS)]
    links = [f'<link rel="stylesheet" href="{OURS}/{name}">' for name in ("style.css", "standalone.css")]
    return "".join([*links, *(f'<script src="{OURS}/{name}"></script>' for name in files)]).encode()
