"""Borrowing in the real A1111: what only it does to its schedule."""

from __future__ import annotations

import pytest
from harness import WebUI

pytestmark = pytest.mark.host


def test_a_downcast_schedule_is_not_trained_on(webui: WebUI):
    before = webui.post("/probe/lend")["last_alpha"]
    webui.post("/sdapi/v1/options", {"use_downcasted_alpha_bar": True})
    try:
        webui.txt2img("red circle")  # rounds the host's current schedule to fp16
        assert webui.post("/probe/lend")["last_alpha"] == before
    finally:
        webui.post("/sdapi/v1/options", {"use_downcasted_alpha_bar": False})
        webui.txt2img("red circle")  # and exact again
