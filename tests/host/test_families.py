"""Every family in the real web UI: borrowed, compared with the host's own modules, trained through the routes, and what
was trained applied by the host's own loader to every layer.

The web UI's own WEBUI_CHECKPOINT stays as it is; tiny random checkpoints of the other families are made beside it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harness import PROJECT, WebUI
from PIL import Image
from safetensors.torch import load_file, save_file
from test_networks import compare_with_the_hosts_loader

pytestmark = [pytest.mark.host, pytest.mark.slow]
MODELS = {  # name: (sizes in demo.ldm_layout, predicts v, zero terminal SNR)
    "tiny-sd2": ("TINY_SD2", False, False),
    "tiny-sd2-v": ("TINY_SD2", True, False),
    "tiny-sdxl": ("TINY_SDXL", False, False),
    "tiny-sdxl-v": ("TINY_SDXL", True, True),
}
PROMPT = "a red circle, on blue"
# Forge and reForge know models by their first width and their depths, and have text encoders and VAE of the full sizes
# only.
FULL = {"TINY_SD2": "SD21", "TINY_SDXL": "SDXL10"}


OPENCLIP = {  # what OpenCLIP makes its text encoder of; the vision half is never used
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 3},
}


def make_model(webui: WebUI, name: str) -> Path:
    """A checkpoint in the web UI's folder, as small as it takes one.

    A1111's OpenCLIP is told of the small text encoder; others get the full model's, with the U-Net's levels all narrow.
    """
    sys.path.insert(0, str(PROJECT))
    from demo import ldm_layout, tiny

    table, predicts_v, zero_snr = MODELS[name]
    if webui.spec.kind.line != "a1111":
        full = getattr(ldm_layout, FULL[table])
        narrow = replace(full, multipliers=(1,) * len(full.multipliers))
        path = tiny.make(webui.models_dir, name, predicts_v, torch.float16, zero_snr, narrow)
        return path if predicts_v else as_one_that_predicts_noise(path)
    sizes = getattr(ldm_layout, table)
    openclip = replace(sizes.openclip, width=128, arch=f"{name}-openclip")
    config = webui.data_dir / f"{openclip.arch}.json"
    config.write_text(json.dumps({"embed_dim": openclip.pooled, **OPENCLIP}))
    webui.post("/probe/add_openclip", {"path": str(config)})
    sizes = replace(sizes, openclip=openclip)
    return tiny.make(webui.models_dir, name, predicts_v, torch.float32, zero_snr, sizes)


def as_one_that_predicts_noise(path: Path) -> Path:
    """By this bias reForge tells SD2's two kinds apart; random weights look like those that predict velocity."""
    tensors = load_file(path)
    bias = tensors.get("model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias")
    if bias is not None:
        bias *= 0.1
        save_file(tensors, path)
    return path


@pytest.fixture(scope="module", params=MODELS)
def model(request, webui: WebUI):
    """The name of what is loaded now. Skips a family that this kind of web UI does not know."""
    path = make_model(webui, request.param)
    begin = len(webui.log)
    webui.post("/sdapi/v1/options", {"live_previews_enable": False})  # SDXL's would be downloaded
    if MODELS[request.param][2] and webui.spec.kind.line == "a1111":  # it has an option, no eye for the checkpoint
        webui.post("/sdapi/v1/options", {"sd_noise_schedule": "Zero Terminal SNR"})
    webui.choose(path.name)
    try:
        refusal = webui.post("/probe/lend_error")
        if "could not load" in refusal["error"] and webui.spec.kind.line != "a1111":
            pytest.skip(f"{webui.spec.kind.name} does not know it: {webui.log[begin:][-200:]}")
        assert refusal["error"] == ""
        yield request.param
    finally:
        webui.post("/sdapi/v1/options", {"sd_noise_schedule": "Default"})
        webui.choose(webui.spec.checkpoint.name)
        path.unlink()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    concept = tmp_path_factory.mktemp("set") / "1_blob"
    concept.mkdir()
    for index in range(3):
        Image.new("RGB", (64, 64), (40 * index, 90, 200)).save(concept / f"{index}.png")
        (concept / f"{index}.txt").write_text(f"blob, number {index}", encoding="utf-8")
    return concept.parent


def test_what_is_lent_is_the_hosts_and_computes_the_same(webui: WebUI, model: str):
    sizes, predicts_v, zero_snr = MODELS[model]
    before = webui.post("/probe/weights")
    loan = webui.post("/probe/lend")
    assert loan["family"] == sizes.removeprefix("TINY_")
    assert loan["foreign_storages"] == 0
    assert loan["prediction"] == ("v_prediction" if predicts_v else "epsilon")
    assert loan["zero_terminal_snr"] is zero_snr
    assert len(loan["tensors"]) == (4 if "xl" in model else 3)
    assert loan["vae_scale"] == pytest.approx(0.13025 if "xl" in model else 0.18215)
    apart = webui.post("/probe/family_outputs")
    assert max(apart.values()) < webui.rounding(), apart
    assert webui.post("/probe/train_a_little")["gradient"] > 0
    assert webui.post("/probe/weights") == before


def test_what_is_trained_is_what_the_host_applies(webui: WebUI, model: str, pictures: Path):
    plain = webui.txt2img(PROMPT, steps=2)
    before = webui.post("/probe/weights")
    lora = trained(webui, pictures, f"from-{model}")
    modules = {key.split(".")[0] for key in load_file(lora)}
    begin = len(webui.log)
    styled = webui.txt2img(f"{PROMPT} <lora:{lora.stem}:1>", steps=2)
    assert styled != plain
    assert placed(webui, lora, webui.log[begin:]) == len(modules)
    webui.post("/probe/lend")
    assert webui.post("/probe/weights") == before
    assert webui.txt2img(PROMPT, steps=2) == plain


@pytest.mark.parametrize("kind", ["LoKr DoRA", "GLoRA", "OFT", "BOFT", "IA3"])
def test_kinds_that_read_the_weights_do_so_in_openclips_fused_layers(webui: WebUI, model: str, kind: str):
    """Query, key and value are one matrix in the web UI's own module, three layers with us."""
    if model != "tiny-sd2":
        pytest.skip("one model with nothing but OpenCLIP's text encoder is enough")
    compare_with_the_hosts_loader(webui, kind)


def placed(webui: WebUI, lora: Path, log: str) -> int:
    """How many of the file's modules the host has put to use; Forge and reForge say it, A1111 is asked."""
    if webui.spec.kind.line == "reforge":
        assert "NOT LOADED" not in log, log
        return sum(int(keys) for keys in re.findall(r"\[LORA\] Loaded .* with (\d+) keys", log))
    if webui.spec.kind.line == "forge":
        assert "unmatched" not in log and "ismatch" not in log, log
        loaded = re.findall(r"Loaded .* with (\d+) keys at weight .* \(skipped (\d+) keys\)", log)
        assert all(skipped == "0" for _, skipped in loaded), log
        return sum(int(keys) for keys, _ in loaded)
    applied = webui.post("/probe/applied", {"path": str(lora)})
    assert applied["missing"] == [], applied
    return applied["placed"]


def trained(webui: WebUI, folder: Path, name: str) -> Path:
    """Five steps through the routes."""
    settings = {
        "train_data_dir": str(folder), "output_name": name, "resolution": "64", "min_bucket_reso": 64,
        "max_bucket_reso": 64, "max_train_steps": 5, "optimizer_type": "AdamW", "learning_rate": 5e-2,
        "text_encoder_lr": 5e-2, "lr_scheduler": "constant", "network_dim": 4, "network_alpha": 4,
        "max_token_length": 75, "make_thumbnail": False, "save_precision": "float",
    }  # fmt: skip
    run = webui.post("/train-lora/v1/start", {"settings": settings})["run"]
    deadline = time.monotonic() + 900  # full text encoders on a processor take their time
    while webui.get("/train-lora/v1/status")["job"]:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    events = webui.get(f"/train-lora/v1/events?run={run}&after=0")["events"]
    assert events[-1]["event"] == "Finished", events[-1]
    return webui.lora_dir / f"{name}.safetensors"
