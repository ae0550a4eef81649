"""Borrowing in the real web UI: the host's storages, the host's outputs, and not a byte changed."""

from __future__ import annotations

import materials
import pytest
from harness import Spec, WebUI

pytestmark = pytest.mark.host


@pytest.fixture(autouse=True)
def _unchanged(webui: WebUI):
    """Every test leaves the weights as they were."""
    before = webui.post("/probe/weights")
    yield
    webui.choose(webui.spec.checkpoint.name)
    assert webui.post("/probe/lend")["foreign_storages"] == 0
    assert webui.post("/probe/weights") == before


def test_status_is_cheap_and_names_what_is_loaded(webui: WebUI, spec: Spec):
    webui.load(spec.checkpoint.name)
    status = webui.post("/probe/status")
    assert status["host"].startswith(spec.kind.title)
    assert status["checkpoint"].startswith(spec.checkpoint.name)
    assert (status["family"], status["prediction"], status["problem"]) == ("SD1", "epsilon", "")
    assert status["precision"] and 0 < status["memory_used_gb"] < status["memory_total_gb"]


def test_borrowed_tensors_are_the_hosts(webui: WebUI, spec: Spec):
    loan = webui.post("/probe/lend")
    assert loan["foreign_storages"] == 0
    assert min(loan["tensors"]) > 50
    assert loan["path"] == str(spec.checkpoint)
    assert len(loan["sha256"]) == 64
    assert loan["vae_scale"] == pytest.approx(0.18215)
    assert loan["last_alpha"] == pytest.approx(0.00466, rel=1e-3)
    assert (loan["prediction"], loan["zero_terminal_snr"], loan["vae"]) == ("epsilon", False, "")


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_borrowed_modules_compute_what_the_hosts_compute(webui: WebUI, clip_skip: int):
    apart = webui.post("/probe/same_outputs", {"clip_skip": clip_skip})
    assert max(apart.values()) < webui.rounding(), apart


def test_backward_runs_through_the_borrowed_modules(webui: WebUI):
    assert webui.post("/probe/train_a_little")["gradient"] > 0


@pytest.mark.parametrize("phase", ["borrow", "vae", "forward", "backward"])
def test_an_exception_changes_no_weight_and_frees_the_lock(webui: WebUI, phase: str):
    picture = webui.txt2img("red circle")
    assert webui.post("/probe/train_a_little", {"fail_in": phase}) == {"error": "injected"}
    assert webui.txt2img("red circle") == picture  # would wait for ever on a held lock


def test_a_merged_lora_is_taken_out_and_comes_back_with_the_next_picture(webui: WebUI, spec: Spec):
    materials.lora(spec.checkpoint, webui.lora_dir / "merged.safetensors")
    plain_weights, plain = webui.post("/probe/weights"), webui.txt2img("red circle")
    styled = webui.txt2img("red circle <lora:merged:1>")
    assert styled != plain
    assert webui.post("/probe/read_merged") == {"merged": ["merged"]}
    assert webui.post("/probe/weights") != plain_weights
    webui.post("/probe/lend")
    assert webui.post("/probe/read_merged") == {"merged": []}
    assert webui.post("/probe/weights") == plain_weights
    assert webui.txt2img("red circle <lora:merged:1>") == styled
    assert webui.txt2img("red circle") == plain


def test_clip_skip_and_schedule_follow_the_hosts_options(webui: WebUI):
    webui.post("/sdapi/v1/options", {"CLIP_stop_at_last_layers": 2, "sd_noise_schedule": "Zero Terminal SNR"})
    try:
        loan = webui.post("/probe/lend")
        assert webui.post("/probe/status")["clip_skip"] == loan["clip_skip"] == 2
        assert loan["zero_terminal_snr"] is True
        assert loan["last_alpha"] < 1e-6
    finally:
        webui.post("/sdapi/v1/options", {"CLIP_stop_at_last_layers": 1, "sd_noise_schedule": "Default"})
    assert webui.post("/probe/lend")["zero_terminal_snr"] is False


def test_v_prediction_is_read_from_what_is_loaded(webui: WebUI, spec: Spec):
    materials.v_checkpoint(
        spec.checkpoint, webui.models_dir / "vpred.safetensors", spec.folder / "configs" / "v1-inference.yaml"
    )
    webui.load("vpred.safetensors")
    assert webui.post("/probe/lend")["prediction"] == "v_prediction"
    assert webui.post("/probe/status")["prediction"] == "v_prediction"


def test_another_vae_is_part_of_what_is_lent(webui: WebUI, spec: Spec):
    folder = webui.data_dir / "models" / "VAE"
    folder.mkdir(exist_ok=True)
    webui.use_vae(materials.vae_file(spec.checkpoint, folder / "bright.safetensors"))
    try:
        loan = webui.post("/probe/lend")
        assert loan["vae"] == webui.post("/probe/status")["vae"] == "bright.safetensors"
        assert "bright.safetensors" in loan["notes"][0]
        assert webui.post("/probe/same_outputs")["vae_decoder"] < webui.rounding()
    finally:
        webui.use_vae(None)
    assert webui.post("/probe/lend")["vae"] == ""


def test_an_inpainting_checkpoint_is_refused_before_and_after_it_is_loaded(webui: WebUI, spec: Spec):
    materials.inpainting_checkpoint(spec.checkpoint, webui.models_dir / "holes.safetensors")
    webui.choose("holes.safetensors")
    assert "inpainting" in webui.post("/probe/status")["problem"]
    refusal, status = webui.post("/probe/lend_error"), webui.post("/probe/status")
    assert "inpainting" in refusal["error"] and refusal["kind"] == "HostError" and refusal["free"]
    assert "inpainting" in status["problem"] and status["remedy"]


def test_an_unloaded_checkpoint_is_lent_all_the_same(webui: WebUI):
    webui.post("/sdapi/v1/unload-checkpoint")
    loan = webui.post("/probe/lend")
    assert loan["title"]
    if loan["foreign_storages"]:  # its own modules cannot compute where they lie now
        assert "a copy of it is put there" in loan["notes"][-1]
        webui.post("/sdapi/v1/reload-checkpoint")
    assert max(webui.post("/probe/same_outputs").values()) < webui.rounding()


def test_a_checkpoint_that_cannot_be_loaded_is_an_error_and_the_next_one_is_fine(webui: WebUI, spec: Spec):
    (webui.models_dir / "broken.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    webui.choose("broken.safetensors")
    refusal = webui.post("/probe/lend_error")
    if spec.kind.line == "a1111":  # takes the choice back
        assert refusal["error"] == ""
    else:
        assert "could not load" in refusal["error"] and refusal["kind"] == "HostError" and refusal["free"]
    webui.choose(spec.checkpoint.name)
    assert webui.post("/probe/lend")["path"] == str(spec.checkpoint)
