"""Borrowing in the real Forge and its kin: what only they do to their weights."""

from __future__ import annotations

import materials
import pytest
from harness import Spec, WebUI
from test_loan import _unchanged  # noqa: F401 a fixture

pytestmark = pytest.mark.host
PLAIN, STYLED = "red circle", "red circle <lora:styled:1>"


@pytest.fixture(scope="module", autouse=True)
def _styled(webui: WebUI, spec: Spec) -> None:
    materials.lora(spec.checkpoint, webui.lora_dir / "styled.safetensors")


def test_a_checkpoint_that_is_only_chosen_is_described_from_its_file(webui: WebUI, spec: Spec):
    other = webui.choose("other.safetensors")
    status = webui.post("/probe/status")
    assert status["checkpoint"] == other
    assert (status["family"], status["prediction"], status["problem"]) == ("SD1", "", "")
    webui.choose(spec.checkpoint.name)
    assert webui.post("/probe/status")["prediction"] == "epsilon"  # was loaded all the time


def test_merged_weights_come_back_after_models_were_unloaded(webui: WebUI, spec: Spec):
    """A page that was opened makes Forge unload everything, with the LoRA still merged; Neo takes it out first."""
    plain, styled = webui.txt2img(PLAIN), webui.txt2img(STYLED)
    webui.post("/probe/page_opened")
    assert webui.post("/probe/read_merged") == {"merged": ["styled"] if spec.kind.unloads_merged else []}
    assert webui.post("/probe/lend")["foreign_storages"] == 0
    assert webui.post("/probe/read_merged") == {"merged": []}
    assert webui.txt2img(PLAIN) == plain
    assert webui.txt2img(STYLED) == styled != plain


@pytest.mark.parametrize(
    ("storage", "precision"),
    [("float16", "fp16"), ("bfloat16", "bf16"), ("float8_e4m3fn", "fp8 e4m3fn"), ("float8_e5m2", "fp8 e5m2")],
)
def test_unets_stored_in_fewer_bits_are_computed_as_the_host_does(webui: WebUI, storage: str, precision: str):
    """Cast per call: no copies, the host's outputs, gradients; with LoRAs merged into the few bits taken out again."""
    webui.post("/probe/store_unet", {"dtype": storage})
    try:
        plain = webui.txt2img(PLAIN)
        before = webui.post("/probe/weights")
        loan = webui.post("/probe/lend")
        assert loan["foreign_storages"] == 0 and loan["dtype"] == f"torch.{storage}"
        assert ("fp8" in " ".join(loan["notes"])) == storage.startswith("float8")
        assert webui.post("/probe/status")["precision"].startswith(precision)
        apart = webui.post("/probe/same_outputs")
        assert max(apart.values()) < webui.rounding(), apart
        assert webui.post("/probe/train_a_little")["gradient"] > 0
        assert webui.txt2img(STYLED) != plain
        webui.post("/probe/lend")
        assert webui.post("/probe/weights") == before
        assert webui.txt2img(PLAIN) == plain
    finally:
        webui.post("/probe/store_unet", {"dtype": ""})


def test_quantised_storage_is_refused_by_name(webui: WebUI, spec: Spec):
    webui.post("/probe/quantise_a_layer", {"path": str(webui.data_dir / "layer.gguf")})
    try:
        refusal, status = webui.post("/probe/lend_error"), webui.post("/probe/status")
        assert "gguf" in refusal["error"] and refusal["kind"] == "HostError" and refusal["free"]
        assert "gguf" in status["problem"] and "Low Bits" in status["remedy"]
    finally:
        webui.post("/probe/load_again")


@pytest.mark.parametrize("storage", ["nf4", "fp4"])
def test_diffusion_in_four_bits_is_refused_by_name(webui: WebUI, spec: Spec, storage: str):
    """The host's own layers, loaded by the host; a card would be needed to draw with them, not to refuse them."""
    if not webui.post("/probe/versions")["bitsandbytes"]:
        pytest.skip("without bitsandbytes the web UI stores nothing in four bits")
    webui.post("/probe/store_unet", {"dtype": storage})
    try:
        chosen = webui.post("/probe/status")  # nothing is loaded by that choice yet
        refusal, status = webui.post("/probe/lend_error"), webui.post("/probe/status")
        assert f"The U-Net is stored in {storage}" in refusal["error"]
        assert refusal["kind"] == "HostError" and refusal["free"]
        assert storage in status["problem"] and "Diffusion in Low Bits to Automatic" in status["remedy"]
        assert (chosen["problem"], chosen["remedy"]) == (status["problem"], status["remedy"])
        code, answer = webui.request(
            "POST", "/train-lora/v1/start", {"settings": {"train_data_dir": str(webui.data_dir)}}
        )
        assert code == 409 and storage in answer["error"] and "Low Bits" in answer["remedy"], answer
    finally:
        webui.post("/probe/store_unet", {"dtype": ""})
    assert webui.post("/probe/lend")["foreign_storages"] == 0


def test_a_zero_snr_checkpoint_is_recognised(webui: WebUI, spec: Spec):
    materials.with_mark(spec.checkpoint, webui.models_dir / "ztsnr.safetensors", "ztsnr")
    webui.choose("ztsnr.safetensors")
    loan = webui.post("/probe/lend")
    assert loan["zero_terminal_snr"] is True and loan["last_alpha"] < 1e-6
