"""The tab's frame: one element that the page's scripts (`javascript/`) fill, and what stands there when they cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from ..app import page
from . import gradio_compat

TITLE, NAME = "Train LoRA", "train_lora"
_WAITING = "Starting… If this stays, the page's scripts did not load: reload the page."


def frame(settings: Mapping[str, Any] | None = None, key: str = "", token: str = "") -> gr.HTML:
    """The element, for the current `gr.Blocks`.

    `settings`: a recipe by field name that a browser seeing this page for the first time begins with. `key` keeps
    apart what the browser remembers of pages that share an address. `token`: `Guard.page_token`, by which the routes
    know this page where the API asks for a password and the page does not.
    """
    return gradio_compat.html(root(_WAITING, settings, key, token), f"{NAME}_frame")


def root(text: str, settings: Mapping[str, Any] | None = None, key: str = "", token: str = "") -> str:
    """Markup of the root element; everything given is escaped."""
    given = f' data-settings="{escape(json.dumps(dict(settings)), quote=True)}"' if settings else ""
    shown = f' data-token="{escape(token, quote=True)}"' if token else ""
    about = f'data-key="{escape(key, quote=True)}" data-version="{page.version()}"'
    return f'<div id="train-lora-root" {about}{given}{shown}>{escape(text)}</div>'


def on_ui_tabs(token: str = "", notes: Sequence[str] = ()) -> list[tuple[gr.Blocks, str, str]]:
    """What the web UI asks for: the tab, its title, its element id. `notes`: what does not fit here, shown above."""
    with gradio_compat.blocks() as page:
        if notes:
            gradio_compat.html("".join(f"<p>⚠ {escape(note)}</p>" for note in notes), f"{NAME}_notes")
        frame(token=token)
    return [(page, TITLE, NAME)]


def apology(problem: str, remedy: str, detail: str = "") -> list[tuple[gr.Blocks, str, str]]:
    """The tab when the program cannot be loaded: what is wrong and what to do, in place of a traceback.

    Its element has another id, so that the scripts leave it alone.
    """
    more = f"<details><summary>Details</summary><pre>{escape(detail)}</pre></details>" if detail else ""
    text = f'<div class="train-lora-apology"><h3>{escape(problem)}</h3><p>{escape(remedy)}</p>{more}</div>'
    with gradio_compat.blocks() as page:
        gradio_compat.html(text, f"{NAME}_apology")
    return [(page, TITLE, NAME)]
