"""Registers tab, routes and unload with the web UI; everything else is in `lib_lora_train`.

Runs again in the same process at every "Reload UI"; the job runner is found again by its module.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from modules import script_callbacks

from lib_lora_train.ui import tab

ROOT = Path(__file__).resolve().parent.parent


def _notes() -> list[str]:
    """On requirements that install.py could not add, and on what is there outside their ranges."""
    spec = importlib.util.spec_from_file_location("train_lora_install", ROOT / "install.py")
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    wanted = install.requirements(ROOT / "pyproject.toml")
    absent, notes = install.missing(wanted), []
    if absent:
        remedy = "Restart the web UI with a network connection: they are added then, and nothing installed is changed."
        notes.append(f"Train LoRA lacks these packages: {', '.join(absent)}. {remedy}")
    for name, version, made_for in install.outside(wanted):
        notes.append(
            f"{name} {version} is installed; Train LoRA is made for {made_for}. It was left as it is, since another "
            "extension may need it so. If training fails, "
            f'run "{sys.executable}" -m pip install "{name}{made_for}" and restart.'
        )
    return notes


def _register(notes: list[str]) -> None:
    # Now, not when they are needed: this folder is on sys.path only while the scripts load.
    from lib_lora_train.app.routes import add_routes
    from lib_lora_train.hosts.detect import host

    script_callbacks.on_ui_tabs(lambda: tab.on_ui_tabs(host().guard().page_token, notes))
    script_callbacks.on_app_started(lambda _page, app: add_routes(app, host()))


def _say(text: str) -> None:
    """To a console that may know few letters; an error's text may hold any."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    print(text.encode(encoding, "replace").decode(encoding))


def _apologise(problem: str, remedy: str, detail: str = "") -> None:
    _say(f"{problem} {remedy}")
    script_callbacks.on_ui_tabs(lambda: tab.apology(problem, remedy, detail))


notes = _notes()
for note in notes:
    _say(note)
try:
    _register(notes)  # as far as it works
except (ImportError, AttributeError, RuntimeError) as error:  # what libraries raise that do not fit each other
    report = "Update the extension and restart the web UI. If this stays, report it with the details below."
    _apologise(f"Train LoRA cannot be loaded: {error}.", " ".join(notes) or report, traceback.format_exc())
