"""The stand-alone page on a scripted engine: everything of the app is real but the model."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from app_stage import StageHost
from scripted_engine import SlowEngine

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.ui.standalone import application


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


class Stage:
    """Host, engine, runner and app of one test. `address` once it is served; `recipe`: what it is quick with."""

    recipe = {"optimizer_type": "AdamW"}

    def __init__(self, root: Path):
        self.host = StageHost(root)
        self.engine = SlowEngine()
        self.runner = JobRunner(self.host, engine=self.engine)
        self.app = application(self.host, runner=self.runner)
        self.address = ""


def picture_folder(root: Path) -> Path:
    """Three pictures, one with markup in its caption, one without a caption, and what must be left out."""
    concept = root / "2_cat"
    concept.mkdir(parents=True)
    for index, caption in enumerate(('cat, <img src=x onerror="window.hacked=1">', "cat, sitting, indoors", "")):
        Image.new("RGB", (64, 64 + 64 * index), (index * 80, 90, 120)).save(concept / f"{index}.png")
        if caption:
            (concept / f"{index}.txt").write_text(caption, encoding="utf-8")
    (concept / "dance.gif").write_bytes(b"GIF89a")
    (concept / "broken.png").write_bytes(b"\x89PNG\r\n")
    return root
