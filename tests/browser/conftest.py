"""A page served on this machine, and the browser that visits it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from browser_stage import browser, fill_folder, open_tab, page
from stage import Stage, picture_folder

__all__ = ["browser", "fill_folder", "finished", "open_tab", "page", "served", "start"]


@contextmanager
def served(app) -> Iterator[str]:
    """The app on a free port of 127.0.0.1; yields its address."""
    import uvicorn

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the page's server did not start"
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    with served(made.app) as made.address:
        yield made
        if made.runner.status():
            made.runner.tell("stop")
        assert made.runner.wait(20)


@pytest.fixture
def folder(tmp_path):
    return picture_folder(tmp_path / "pictures")


@pytest.fixture
def ready(page, stage, folder):
    """The Recipe sub-tab with pictures, name and trigger filled in."""
    open_tab(page, stage.address)
    fill_folder(page, folder)
    page.wait_for_selector("#train_lora_counts:has-text('3 pictures')")
    page.click("#train_lora_tab_recipe")
    page.evaluate("trainLora.recipe.set('optimizer_type', 'AdamW')")
    page.fill("#train_lora_output_name", "cat")
    page.fill("#train_lora_trigger_word", "cat")
    page.wait_for_selector("#train_lora_prediction:has-text('steps')")
    return page


def start(page) -> None:
    page.click("#train_lora_train")
    page.wait_for_selector("#train_lora_runbar:visible")


def finished(page, timeout: float = 30000) -> str:
    return page.wait_for_selector("#train_lora_outcome .tl-note", timeout=timeout).inner_text()
