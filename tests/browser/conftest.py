"""The page that browser tests visit: the stand-alone one, or with the WEBUI_* variables a real web UI's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_stage import WEBUI, browser, fill_folder, open_tab, page
from stage import Stage, picture_folder, served

__all__ = ["browser", "page"]
OWN_PAGES = ("test_flow", "test_compat_page", "test_measure")  # tests/host asks the same of web UIs with their models


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items if WEBUI else ():
        if item.path.parent == Path(__file__).parent and item.path.stem in OWN_PAGES:
            item.add_marker(pytest.mark.skip(reason="has a stand-alone page of its own"))


@pytest.fixture
def standalone() -> None:
    """For what the stand-alone page imitates and tests/host asks of the real one."""
    if WEBUI:
        pytest.skip("asked of web UIs by tests/host")


@pytest.fixture(scope="session")
def webui(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A real web UI, shared; None without the variables."""
    if not WEBUI:
        yield None
        return
    from web_stage import running

    with running(tmp_path_factory.mktemp("webui")) as ui:
        yield ui


@pytest.fixture
def stage(webui, tmp_path):
    if webui:
        from web_stage import WebStage

        with WebStage(webui) as made:
            yield made
        return
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
    page.evaluate("(values) => Object.entries(values).forEach((one) => trainLora.recipe.set(...one))", stage.recipe)
    page.fill("#train_lora_output_name", "cat")
    page.fill("#train_lora_trigger_word", "cat")
    page.wait_for_selector("#train_lora_prediction:has-text('steps')")
    return page
