"""A browser and a visitor's page, for the tests that drive one: the stand-alone page and real web UIs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WEBUI = bool(os.environ.get("WEBUI_DIR"))
OURS = re.compile("train[-_]lora" if WEBUI else "")  # web UIs' scripts have errors of their own
PATIENCE = 60000 if WEBUI else 20000  # ms

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """Path of Chromium. Absent it skips on a developer's machine and fails where tests decide (CI set)."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail("Chromium is not installed: the browser tests cannot be left out here")
    pytest.skip("Chromium is not installed")


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    """A fresh visitor. Errors of our scripts fail the test at its end."""
    with visitor(browser) as opened:
        yield opened


@contextmanager
def visitor(browser) -> Iterator[Any]:
    """A page of somebody who comes for the first time. Errors of our scripts, not the web UI's own, are raised."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}") if OURS.search(error.stack) else None)
    opened.on("console", lambda said: errors.append(said.text) if said.text.startswith("Train LoRA:") else None)
    opened.set_default_timeout(PATIENCE)
    yield opened
    context.close()
    assert not errors, errors


def show(page, title: str) -> None:
    """One of the tabs at the page's top."""
    page.click(f"#tabs > .tab-nav > button:has-text('{title}'), #tab_{title.replace(' ', '_')}-button")


def open_tab(page, address: str) -> None:
    """The Train LoRA tab with its form ready."""
    page.goto(address)
    come(page)


def reload(page) -> None:
    """The page anew, as far as `open_tab`."""
    page.reload()
    come(page)


def come(page) -> None:
    """A web UI shows another tab first, the stand-alone page this one."""
    title = page.locator("#tabs > .tab-nav > button:has-text('Train LoRA')")
    title.or_(page.locator("#train_lora_tab_pictures")).first.wait_for(timeout=60000)
    if title.count():
        title.click()
    page.wait_for_selector("#train_lora_tab_pictures", timeout=60000)
    page.wait_for_function("window.trainLora && trainLora.recipe && trainLora.recipe.ready")


def fill_folder(page, folder: Path) -> None:
    page.click("#train_lora_tab_pictures")
    page.fill("#train_lora_folder", str(folder))
    page.keyboard.press("Enter")


def start(page) -> None:
    page.click("#train_lora_train")
    page.wait_for_selector("#train_lora_runbar:visible")


def finished(page, timeout: float = 1.5 * PATIENCE) -> str:
    return page.wait_for_selector("#train_lora_outcome .tl-note", timeout=timeout).inner_text()
