"""Forge started in other ways: as on a graphics card, nothing loaded, passwords, open to the network."""

from __future__ import annotations

import pytest
from harness import Spec
from test_a1111_flags import (  # noqa: F401 the same promises
    keeps_its_promises,
    test_at_home_nothing_is_asked_for,
    test_open_to_the_network_with_a_password_for_the_api_only,
    test_passwords_of_page_and_api,
)

pytestmark = [pytest.mark.host, pytest.mark.slow]


def test_with_the_precisions_of_a_graphics_card(new_webui):
    with new_webui(args=["--unet-in-fp16", "--vae-in-bf16"]) as ui:
        ui.txt2img("anything")  # Forge loads with its first picture
        assert ui.post("/probe/status")["precision"] == "fp16, VAE bf16"
        keeps_its_promises(ui, 6e-2)  # bf16 has eight bits


def test_with_nothing_loaded_yet(new_webui, spec: Spec):
    with new_webui() as ui:
        status = ui.post("/probe/status")
        assert status["checkpoint"].startswith(spec.checkpoint.name)
        assert (status["family"], status["prediction"], status["problem"]) == ("SD1", "", "")
        assert ui.post("/probe/lend")["path"] == str(spec.checkpoint)
        assert ui.post("/probe/status")["prediction"] == "epsilon"


def test_without_the_lora_extension(new_webui):
    """Nobody merges LoRAs then; borrowing and publishing do without it."""
    with new_webui(options={"disabled_extensions": ["sd_forge_lora"]}) as ui:
        assert ui.request("GET", "/sdapi/v1/loras")[0] == 404
        assert ui.post("/probe/lend")["foreign_storages"] == 0
        (ui.lora_dir / "unseen.safetensors").write_bytes(b"")
        assert ui.post("/probe/publish", {"name": "unseen"}) == {}
