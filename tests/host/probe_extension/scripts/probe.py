"""Test-only extension: `POST /probe/<check>` runs a function of `checks*.py` inside the web UI. Never ship it.

The body's fields are the function's arguments, its result is the answer; an exception answers 500 with its traceback.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse
from modules import script_callbacks

_HERE = Path(__file__).resolve().parents[1]
_PROJECT = _HERE.parents[2]


def _checks() -> dict:
    for folder in (str(_PROJECT), str(_HERE)):
        if folder not in sys.path:
            sys.path.append(folder)
    found: dict = {}
    for file in sorted(_HERE.glob("probe_checks*.py")):
        found.update(vars(importlib.import_module(file.stem)))
    return {name: check for name, check in found.items() if not name.startswith("_")}


def _add_routes(_demo: object, app: FastAPI) -> None:
    checks = _checks()
    if "pretended" in sys.modules:  # a graphics card (tests/card)
        sys.modules["pretended"].let_borrow()

    @app.post("/probe/{name}")
    def run(name: str, arguments: dict = Body(default={})):  # noqa: B008
        try:
            return JSONResponse(checks[name](**arguments))
        except Exception:  # noqa: BLE001 the test wants to see any
            return JSONResponse({"traceback": traceback.format_exc().splitlines()}, status_code=500)

    @app.get("/probe/guarded")
    def guarded(request: Request):
        """What the host's guard says to this request."""
        guard = checks["detect"].host().guard()
        flags = {"open": guard.open_to_network, "insecure": guard.insecure_allowed}
        return {"refusal": guard.check(request), "page_token": guard.page_token, **flags}


script_callbacks.on_app_started(_add_routes)
