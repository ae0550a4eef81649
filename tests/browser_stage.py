"""A browser and a visitor's page, for the tests that drive one: the stand-alone page and real web UIs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

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
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if said.text.startswith("Train LoRA:") else None)
    opened.set_default_timeout(20000)
    yield opened
    context.close()
    assert not errors, errors


def open_tab(page, address: str) -> None:
    """The Train LoRA tab with its form ready."""
    page.goto(address)
    page.wait_for_selector("#train_lora_tab_pictures", timeout=60000)
    page.wait_for_function("trainLora.recipe.ready")


def fill_folder(page, folder: Path) -> None:
    page.click("#train_lora_tab_pictures")
    page.fill("#train_lora_folder", str(folder))
    page.keyboard.press("Enter")
