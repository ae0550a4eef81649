"""Web UIs started in other ways: little memory, other precisions, nothing loaded, no LoRA extension."""

from __future__ import annotations

import os

import pytest
from harness import Spec, WebUI
from kinds import Way, ways

pytestmark = [pytest.mark.host, pytest.mark.slow]
PROMPT = "red circle"


def keeps_its_promises(ui: WebUI, tolerance: float) -> None:
    """Borrows without copies, computes the same, and leaves weights and pictures as they are."""
    picture, weights = ui.txt2img(PROMPT), ui.post("/probe/weights")
    assert ui.post("/probe/lend")["foreign_storages"] == 0
    apart = ui.post("/probe/same_outputs")
    assert max(apart.values()) < tolerance, apart
    assert ui.post("/probe/train_a_little")["gradient"] > 0
    ui.post("/probe/worker_start", {"step_s": 0.2})
    try:
        assert ui.txt2img(PROMPT) == picture
    finally:
        report = ui.post("/probe/worker_stop")
    assert report["error"] == "" and len(report["outputs"]) == 1
    assert ui.post("/probe/weights") == weights
    assert ui.txt2img(PROMPT) == picture


@pytest.mark.parametrize("way", ways(os.environ.get("WEBUI_DIR", "")))
def test_with_other_flags(new_webui, way: Way):
    with new_webui(args=way.flags, without=way.without) as ui:
        skip_where_it_cannot_draw(ui, way)
        ui.txt2img("anything")  # some load with their first picture
        assert ui.post("/probe/lend")["dtype"] == f"torch.{way.stored}"
        assert ui.post("/probe/status")["precision"].startswith(way.shown)
        keeps_its_promises(ui, way.apart)


def skip_where_it_cannot_draw(ui: WebUI, way: Way) -> None:
    if way.stored == "float16" and ui.post("/probe/versions")["torch"].startswith("2.1."):
        pytest.skip("torch 2.1 has no half precision convolutions on CPUs; the web UI cannot draw either")


def test_with_nothing_loaded_yet(new_webui, spec: Spec):
    with new_webui(args=["--skip-load-model-at-start"] if spec.kind.loads_at_once else []) as ui:
        status = ui.post("/probe/status")
        assert (status["prediction"], status["problem"]) == ("", "")  # it will load by itself
        assert ui.post("/probe/lend")["path"] == str(spec.checkpoint)
        status = ui.post("/probe/status")
        assert status["checkpoint"].startswith(spec.checkpoint.name) and status["prediction"] == "epsilon"


def test_without_the_lora_extension(new_webui, spec: Spec):
    """Nobody merges LoRAs then; borrowing and publishing do without it."""
    with new_webui(options={"disabled_extensions": [spec.kind.lora_extension]}) as ui:
        assert ui.request("GET", "/sdapi/v1/loras")[0] == 404
        assert ui.post("/probe/lend")["foreign_storages"] == 0
        (ui.lora_dir / "unseen.safetensors").write_bytes(b"")
        assert ui.post("/probe/publish", {"name": "unseen"}) == {}
