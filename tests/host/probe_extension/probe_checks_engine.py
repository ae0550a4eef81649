"""The scripted engine of the browser tests (tests/scripted_engine.py) in the place of the real one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from lib_lora_train.app.jobs import runner
from lib_lora_train.hosts import detect
from lib_lora_train.settings.load import to_mapping

_TESTS = Path(__file__).resolve().parents[2]
_KEPT = ("cache",)


def engine_begin() -> dict:
    """Nothing of earlier runs and recipes is left."""
    engine_end()
    if str(_TESTS) not in sys.path:
        sys.path.append(str(_TESTS))
    from scripted_engine import SlowEngine

    host = detect.host()
    for folder in (host.data_dir(), host.lora_dir()):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name not in _KEPT:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    runner().__init__(host, SlowEngine())
    return {}


def engine_end() -> dict:
    """Whatever is on is stopped; the real engine trains again."""
    one = runner()
    one.queue.hold()
    if one.status():
        one.tell("stop")
    assert one.wait(60), one.status()
    one.__init__(detect.host())
    return {}


def engine_set(name: str, value: object) -> dict:
    setattr(runner()._engine, name, value)
    return {}


def engine_seen() -> dict:
    engine = runner()._engine
    return {"runs": [to_mapping(settings) for settings in engine.runs], "changed": engine.changed}
