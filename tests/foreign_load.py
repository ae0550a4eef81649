"""Run inside a foreign web UI's folder: loads the extension as that program would, and prints what its user gets."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def main(folder: str) -> None:
    os.chdir(folder)
    sys.path[:0] = [folder, str(PROJECT)]
    sys.argv = ["webui.py"]  # web UIs read their flags when they are imported
    from modules import script_callbacks

    tabs, starts = [], []
    script_callbacks.on_ui_tabs, script_callbacks.on_app_started = tabs.append, starts.append
    runpy.run_path(str(PROJECT / "scripts" / "train_lora.py"))

    from fastapi import FastAPI
    from starlette.testclient import TestClient

    app = FastAPI()
    shown = [title for callback in tabs for _page, title, _name in callback()]
    for callback in starts:
        callback(None, app)
    client = TestClient(app, base_url="http://127.0.0.1:7860")
    start = client.post("/train-lora/v1/start", json={"settings": {"train_data_dir": folder, "output_name": "x"}})
    answers = {"tabs": shown, "status": client.get("/train-lora/v1/status").json()["host"], "start": start.json()}
    print(json.dumps({**answers, "code": start.status_code}))


main(sys.argv[1])
