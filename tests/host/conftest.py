"""Running web UIs for host tests: one that all share, and others with their own flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import materials
import pytest
from browser_stage import browser, page
from harness import STEP_S, Spec, WebUI
from webui_page import WebPage

__all__ = ["browser", "page"]
HERE = Path(__file__).parent
LINES = ("a1111", "forge")
CHECKPOINTS = {  # made beside the given one in every web UI's models folder
    "other.safetensors": materials.other_checkpoint,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files named after one line of web UIs are for that line; all others ask the same of every web UI."""
    found = Spec.from_environment()
    for item in items:
        line = item.path.stem.split("_")[1]
        if found is not None and item.path.parent == HERE and line in LINES and line != found.kind.line:
            item.add_marker(pytest.mark.skip(reason=f"for {line}; this web UI is {found.kind.name}"))


@pytest.fixture(scope="session")
def spec() -> Spec:
    found = Spec.from_environment()
    if found is None:
        pytest.skip("needs a real web UI: WEBUI_DIR, WEBUI_PYTHON, WEBUI_ARGS, WEBUI_CHECKPOINT")
    return found


@pytest.fixture(scope="session")
def webui(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebUI]:
    """The shared web UI, with the flags of WEBUI_ARGS, the checkpoint loaded and `other.safetensors` to switch to."""
    with prepared(spec, tmp_path_factory.mktemp("webui")) as ui:
        yield ui


@pytest.fixture(scope="module")
def new_webui(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`with new_webui(args=[...], without=[...], options={...}) as ui`: one more web UI with its own data folder."""
    return lambda **how: prepared(spec, tmp_path_factory.mktemp("webui"), **how)


@contextmanager
def prepared(spec: Spec, folder: Any, **how: Any) -> Iterator[WebUI]:
    ui = WebUI(spec, folder, **how)
    for name, make in CHECKPOINTS.items():
        make(spec.checkpoint, ui.models_dir / name)
    with ui:
        yield ui


@pytest.fixture
def visitor(webui: WebUI, page) -> WebPage:  # noqa: F811 the web UI first: without one no browser
    """Somebody who opens the page for the first time."""
    return WebPage(page, webui).open()


@pytest.fixture
def worker(webui: WebUI) -> Iterator[WebUI]:
    """The web UI with a run-like thread in it; every one of its steps must compute the same, on the host's storages."""
    before = webui.post("/probe/weights")
    webui.post("/probe/worker_start", {"step_s": STEP_S})
    try:
        yield webui
    finally:
        webui.choose(webui.spec.checkpoint.name)
        report = webui.post("/probe/worker_stop")
    assert not report["error"], report["error"]
    assert not report["alive"]
    assert len(report["outputs"]) == 1 and report["foreign_storages"] == 0, report
    assert webui.post("/probe/weights") == before
