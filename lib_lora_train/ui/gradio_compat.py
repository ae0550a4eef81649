"""The one place where gradio's versions differ: 3.41.2 (A1111), 4.40.0 (Forge), current (the stand-alone page)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr


def _known(function: Callable, **wanted: Any) -> dict[str, Any]:
    """Those of `wanted` that this version's `function` takes."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in wanted.items() if name in parameters}


def html(content: str, elem_id: str) -> gr.HTML:
    """Markup of our own making. A1111 keeps components' values in ui-config.json; this one stays out of it."""
    made = gr.HTML(content, elem_id=elem_id, **_known(gr.HTML.__init__, padding=False, container=False))
    made.do_not_save_to_config = True
    return made


def tab(label: str, name: str) -> gr.Tab:
    """A top-level tab with A1111's element ids; its content is there before it is first opened."""
    return gr.Tab(label, id=name, elem_id=f"tab_{name}", **_known(gr.Tab.__init__, render_children=True))


def blocks(title: str = "", **wide: Any) -> gr.Blocks:
    """A page or part of one that reports nothing to anybody."""
    return gr.Blocks(analytics_enabled=False, title=title or "Train LoRA", **_known(gr.Blocks.__init__, **wide))


def mount(app: Any, page: gr.Blocks) -> Any:
    """Put a page at the root of a FastAPI app, with fonts of this machine (gradio's own come from the network)."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    settings = _known(gr.mount_gradio_app, theme=theme, ssr_mode=False, footer_links=[])
    if "theme" not in settings:  # before gradio 6 the page itself held it
        page.theme = theme
    return gr.mount_gradio_app(app, page, path="/", **settings)
