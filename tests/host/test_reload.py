"""The page's "Reload UI" executes our scripts again in the same process; a loan that is out must not notice."""

from __future__ import annotations

import pytest
from harness import WebUI

pytestmark = pytest.mark.host


def test_a_loan_outlives_reload_ui(webui: WebUI):
    expected, weights = webui.txt2img("red circle"), webui.post("/probe/weights")
    webui.post("/probe/worker_start", {"step_s": 0.2})
    try:
        begun, log = webui.post("/probe/worker_report")["steps"], len(webui.log)
        webui.post("/probe/reload_ui")
        webui.wait_for_log("Startup time:", begin=log)
        assert webui.txt2img("red circle") == expected
        report = webui.post("/probe/worker_report")
        assert report["alive"] and report["steps"] > begun
    finally:
        report = webui.post("/probe/worker_stop")
    assert report["error"] == "" and len(report["outputs"]) == 1 and report["foreign_storages"] == 0
    assert webui.post("/probe/weights") == weights
    assert webui.get("/train-lora/v1/status")["host"]["problem"] == ""  # the routes of the new page
