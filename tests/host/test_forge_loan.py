"""Borrowing in the real Forge: what holds on A1111 holds here, and what only Forge does to its weights."""

from __future__ import annotations

import materials
import pytest
from harness import Spec, WebUI
from test_a1111_loan import (  # noqa: F401 the same promises
    _unchanged,
    test_a_merged_lora_is_taken_out_and_comes_back_with_the_next_picture,
    test_an_exception_changes_no_weight_and_frees_the_lock,
    test_an_unloaded_checkpoint_is_lent_all_the_same,
    test_backward_runs_through_the_borrowed_modules,
    test_borrowed_modules_compute_what_the_hosts_compute,
    test_borrowed_tensors_are_the_hosts,
    test_clip_skip_and_schedule_follow_the_hosts_options,
)

pytestmark = pytest.mark.host
PLAIN, STYLED = "red circle", "red circle <lora:styled:1>"


@pytest.fixture(scope="module", autouse=True)
def _styled(webui: WebUI, spec: Spec) -> None:
    materials.lora(spec.checkpoint, webui.lora_dir / "styled.safetensors")


def test_status_names_the_loaded_checkpoint(webui: WebUI, spec: Spec):
    status = webui.post("/probe/status")
    assert status["host"].startswith("Forge ")
    assert status["checkpoint"].startswith(spec.checkpoint.name)
    assert (status["family"], status["prediction"], status["problem"]) == ("SD1", "epsilon", "")
    assert status["precision"] and 0 < status["memory_used_gb"] < status["memory_total_gb"]


def test_a_checkpoint_that_is_only_chosen_is_described_from_its_file(webui: WebUI, spec: Spec):
    other = webui.choose("other.safetensors")
    status = webui.post("/probe/status")
    assert status["checkpoint"] == other
    assert (status["family"], status["prediction"], status["problem"]) == ("SD1", "", "")
    webui.choose(spec.checkpoint.name)
    assert webui.post("/probe/status")["prediction"] == "epsilon"  # was loaded all the time


def test_merged_weights_come_back_after_models_were_unloaded(webui: WebUI):
    """A page that was opened makes Forge unload everything, with the LoRA still merged."""
    plain, styled = webui.txt2img(PLAIN), webui.txt2img(STYLED)
    webui.post("/probe/page_opened")
    assert webui.post("/probe/read_merged") == {"merged": ["styled"]}
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
        assert webui.post("/probe/status")["precision"] == f"{precision}, VAE fp32"
        apart = webui.post("/probe/same_outputs")
        assert max(apart.values()) < 1e-5, apart
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


def test_v_prediction_is_read_from_the_yaml_beside_it(webui: WebUI, spec: Spec):
    path = materials.other_checkpoint(spec.checkpoint, webui.models_dir / "vpred.safetensors", 0.0)
    path.with_suffix(".yaml").write_text("model:\n  params:\n    parameterization: v\n")
    webui.choose("vpred.safetensors")
    assert webui.post("/probe/lend")["prediction"] == "v_prediction"
    assert webui.post("/probe/status")["prediction"] == "v_prediction"


def test_a_zero_snr_checkpoint_is_recognised(webui: WebUI, spec: Spec):
    materials.with_mark(spec.checkpoint, webui.models_dir / "ztsnr.safetensors", "ztsnr")
    webui.choose("ztsnr.safetensors")
    loan = webui.post("/probe/lend")
    assert loan["zero_terminal_snr"] is True and loan["last_alpha"] < 1e-6


def test_another_vae_is_part_of_what_is_lent(webui: WebUI, spec: Spec):
    folder = webui.data_dir / "models" / "VAE"
    folder.mkdir(exist_ok=True)
    path = materials.vae_file(spec.checkpoint, folder / "bright.safetensors")
    webui.post("/probe/additional_modules", {"paths": [str(path)]})
    try:
        loan = webui.post("/probe/lend")
        assert loan["vae"] == webui.post("/probe/status")["vae"] == "bright.safetensors"
        assert "bright.safetensors" in loan["notes"][0]
        assert webui.post("/probe/same_outputs")["vae_decoder"] < 1e-5
    finally:
        webui.post("/probe/additional_modules", {"paths": []})
    assert webui.post("/probe/lend")["vae"] == ""


def test_an_inpainting_checkpoint_is_refused_before_and_after_it_is_loaded(webui: WebUI, spec: Spec):
    materials.inpainting_weights(spec.checkpoint, webui.models_dir / "holes.safetensors")
    webui.choose("holes.safetensors")
    assert "inpainting" in webui.post("/probe/status")["problem"]
    refusal, status = webui.post("/probe/lend_error"), webui.post("/probe/status")
    assert "inpainting" in refusal["error"] and refusal["kind"] == "HostError" and refusal["free"]
    assert "inpainting" in status["problem"] and status["remedy"]


def test_a_checkpoint_that_cannot_be_loaded_is_an_error_and_the_next_one_is_fine(webui: WebUI, spec: Spec):
    (webui.models_dir / "broken.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    webui.choose("broken.safetensors")
    refusal = webui.post("/probe/lend_error")
    assert "could not load" in refusal["error"] and refusal["kind"] == "HostError" and refusal["free"]
    webui.choose(spec.checkpoint.name)
    assert webui.post("/probe/lend")["path"] == str(spec.checkpoint)
