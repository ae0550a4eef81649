"""The HTTP routes: one table, one wrapper that checks who asks, reads the body and turns errors into JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from .. import __version__
from ..errors import TrainLoraError
from ..export.folder import explanation
from ..hosts.base import Host
from ..settings import difficulty
from ..settings.describe import describe
from ..settings.load import from_mapping, to_mapping
from . import (
    bodies,
    leftovers,
    measure,
    page,
    queue_routes,
    recipe_routes,
    regularisation,
    results,
    runs,
    trust,
    uploads,
    warm,
)
from .check import check as what_will_happen
from .desk import Ask, Desk, Handler
from .desk import picture as _picture
from .jobs import WISHES, JobRunner, runner
from .loras import recipe_of_card
from .refusals import NotFound, as_answer

log = logging.getLogger(__name__)
PREFIX = "/train-lora/v1"


def status(desk: Desk, ask: Ask) -> dict[str, Any]:
    job, queue = desk.runner.status(), desk.runner.queue.summary()
    return {"host": asdict(desk.host.status()), "job": job, "queue": queue, "version": __version__}


def schema(desk: Desk, ask: Ask) -> dict[str, Any]:
    newest = runs.newest_recipe(desk.host.data_dir())
    return {
        "groups": describe(),
        "difficulty": difficulty.table(),
        "defaults": to_mapping(from_mapping(desk.host.status().defaults)),
        "last": to_mapping(newest) if newest else None,
        **recipe_routes.presets(desk, ask),
        **recipe_routes.listing(desk, ask),
    }


def check(desk: Desk, ask: Ask) -> dict[str, Any]:
    warm.begin()  # whoever asks what will happen is about to train
    return what_will_happen(ask.settings(), desk.host, desk.sets)


def start(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"run": desk.runner.start(ask.settings(), ask.values.get("confirm_overwrite") is True)}


def go_on(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"run": desk.runner.continue_run(ask.text("run"))}


def regularise(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"run": regularisation.start(ask.settings(), desk.runner)}


def regularise_look(desk: Desk, ask: Ask) -> dict[str, Any]:
    return regularisation.look(ask.settings(), desk.host).as_dict()


def regularise_undo(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"deleted": regularisation.undo(ask.settings(), desk.host)}


def measured(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"run": measure.start(ask.settings(), desk.runner)}


def events(desk: Desk, ask: Ask) -> dict[str, Any]:
    return desk.runner.events(ask.text("run"), ask.number("after", 0))


def listing(desk: Desk, ask: Ask) -> dict[str, Any]:
    job = desk.runner.status()
    return {"runs": runs.listing(desk.host.data_dir(), job["id"] if job else "")}


def run_file(desk: Desk, ask: Ask) -> Response:
    """A sample picture that the run itself tells of; no other path is looked at."""
    folder, path = runs.find(desk.host.data_dir(), ask.text("id")), ask.text("path")
    if path not in {row["path"] for row in runs.told(folder)["samples"]}:
        raise NotFound("This run has no such picture.", "Load the list of runs again.")
    try:
        return _picture((folder.root / path).read_bytes(), "image/png")
    except FileNotFoundError as error:
        raise NotFound(f"{path} was deleted.", "Draw a new sample.") from error


def picture(desk: Desk, ask: Ask) -> Response:
    small = desk.sets.picture(ask.text("set"), ask.number("index", 0), ask.number("size", 256))
    return _picture(small, "image/jpeg")


def lora(desk: Desk, ask: Ask) -> dict[str, Any]:
    return recipe_of_card(desk.host.lora_dir(), ask.text("name"))


def page_part(desk: Desk, ask: Ask) -> Response:
    return page.part(ask.text("name"))


def change(desk: Desk, ask: Ask) -> dict[str, Any]:
    """Samples and intervals of the run that is on."""
    values = ask.values.get("values")
    desk.runner.change(values if isinstance(values, dict) else {})
    return {"ok": True}


def _wish(name: str) -> Handler:
    def handler(desk: Desk, ask: Ask) -> dict[str, Any]:
        desk.runner.tell(name)
        return {"ok": True}

    return handler


def upload(desk: Desk, ask: Ask) -> dict[str, Any]:
    """`received` is the file with the request's body, put there by the wrapper."""
    set_id, folder = uploads.folder_of(desk.host.data_dir(), ask.text("set"))
    kept = uploads.keep(ask.values["received"], folder, ask.text("path"))
    return {"set": set_id, "folder": str(folder), "path": kept[0] if len(kept) == 1 else "", "paths": kept}


GET: dict[str, Handler] = {
    **queue_routes.GET,
    **results.GET,
    "status": status,
    "schema": schema,
    "events": events,
    "runs": listing,
    "runs/{id}/file": run_file,
    "pictures": picture,
    "lora": lora,
    "page": page_part,
    **recipe_routes.GET,
}
POST: dict[str, Handler] = {
    **queue_routes.POST,
    **results.POST,
    "check": check,
    "start": start,
    "continue": go_on,
    "change": change,
    "measure": measured,
    **recipe_routes.POST,
    "regularise": regularise,
    "regularise/look": regularise_look,
    "regularise/undo": regularise_undo,
    **{name: _wish(name) for name in WISHES},
}

FILES: dict[str, Handler] = {"upload": upload, **results.FILES, **recipe_routes.FILES}


def add_routes(app: Starlette, host: Host, job_runner: JobRunner | None = None) -> None:
    """Put the routes on the web UI's (or our own) FastAPI app. Calling it again replaces them.

    Plain starlette routes: what FastAPI makes of annotations differs between the versions that web UIs pin.
    """
    job_runner = job_runner or runner()
    job_runner.use(host)
    leftovers.sweep_later(host.data_dir())
    desk = Desk(host, job_runner)
    table = [
        Route(f"/{path}", _endpoint(desk, handler, bodies.query), methods=["GET"]) for path, handler in GET.items()
    ]
    table += [
        Route(f"/{path}", _endpoint(desk, handler, bodies.json), methods=["POST"]) for path, handler in POST.items()
    ]
    table += [
        Route(f"/{path}", _endpoint(desk, handler, bodies.file), methods=["POST"]) for path, handler in FILES.items()
    ]
    others = [route for route in app.router.routes if getattr(route, "path", None) != PREFIX]
    # First: a page mounted at "/" would swallow what comes after it.
    app.router.routes[:] = [Mount(PREFIX, routes=table), *others]


def _route(method: str, path: str, endpoint: Callable) -> Route:
    return Route(f"/{path}", endpoint, methods=[method])


def _endpoint(desk: Desk, handler: Handler, read: bodies.Reader) -> Callable:
    async def endpoint(request: Request) -> Response:
        try:
            trust.check_request(request, desk.host)
            async with read(request, desk.host) as values:
                found = await run_in_threadpool(handler, desk, Ask(values))
        except (TrainLoraError, OSError) as error:
            refusal = error if isinstance(error, TrainLoraError) else explanation(error)
            # asked while the user types, a refusal is no event; for what the user wanted done it is
            level = logging.WARNING if request.method == "POST" and handler is not check else logging.INFO
            log.log(level, "Train LoRA: %s: %s", request.url.path, refusal)
            return _json(*as_answer(refusal))
        except Exception as error:
            log.exception("Train LoRA: %s failed", request.url.path)
            return _json(500, {"error": f"{type(error).__name__}: {error}", "remedy": "See the console.", "field": ""})
        return found if isinstance(found, Response) else _json(200, found)

    return endpoint


def _json(code: int, content: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), code, {"Cache-Control": "no-store"}, "application/json")
