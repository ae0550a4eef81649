"""Files in kohya format: read back bit for bit, refused with what differs by name."""

from __future__ import annotations

import golden_data
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_lora_train.adapters.build import build, from_tensors
from lib_lora_train.adapters.check import family_of
from lib_lora_train.adapters.load import read
from lib_lora_train.errors import SettingsError
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.schema import NetworkSettings


@pytest.fixture(scope="module")
def loan(tiny_checkpoint):
    with StandaloneHost(tiny_checkpoint, tiny_checkpoint.parent, tiny_checkpoint.parent).lend() as loan:
        yield loan


def tensors_of(loan, **network):
    adapters = build(loan, NetworkSettings(**network), seed=3)
    generator = torch.Generator().manual_seed(3)
    return {
        key: tensor if key.endswith("alpha") else torch.randn(tensor.shape, generator=generator)
        for key, tensor in adapters.state_dict().items()
    }


def test_state_goes_in_and_out_bit_for_bit(loan):
    tensors = tensors_of(loan, network_type="LoCon", network_alpha=0.3)
    adapters = build(loan, NetworkSettings(network_type="LoCon", network_alpha=0.3), seed=9)
    adapters.load_state_dict(tensors)
    again = adapters.state_dict()
    assert list(again) == list(tensors)
    assert all(torch.equal(again[key], tensor) for key, tensor in tensors.items())
    assert all(p.requires_grad for p in adapters.parameters("unet"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_in_half_precision_is_the_start_bit_for_bit(loan, dtype, tmp_path):
    rounded = {key: tensor.to(dtype) for key, tensor in tensors_of(loan, network_alpha=0.3).items()}
    save_file(rounded, tmp_path / "half.safetensors")
    adapters = build(loan, NetworkSettings(network_alpha=0.3), seed=9)
    adapters.load_state_dict(read(tmp_path / "half.safetensors"))
    again = adapters.state_dict(dtype)
    assert all(torch.equal(again[key], tensor) for key, tensor in rounded.items())
    assert {t.dtype for t in again.values()} == {dtype}


def test_another_alpha_keeps_the_files_effect(loan):
    tensors = tensors_of(loan, network_dim=8, network_alpha=8)
    adapters = build(loan, NetworkSettings(network_dim=8, network_alpha=2), seed=9)
    adapters.load_state_dict(tensors)
    ours, key = adapters.state_dict(), "lora_unet_mid_block_attentions_0_proj_in"

    def effect(t):
        return t[f"{key}.lora_up.weight"].flatten(1) @ t[f"{key}.lora_down.weight"].flatten(1) * t[f"{key}.alpha"]

    torch.testing.assert_close(effect(ours), effect(tensors))
    assert float(ours[f"{key}.alpha"]) == 2


def test_a_file_without_alpha_means_the_rank(loan):
    tensors = {k: t for k, t in tensors_of(loan, network_dim=8).items() if not k.endswith("alpha")}
    assert from_tensors(loan, tensors).state_dict()["lora_unet_mid_block_attentions_0_proj_in.alpha"] == 8


def test_from_tensors_finds_the_ranks(loan):
    tensors = tensors_of(
        loan, network_type="LoCon", network_dim=5, network_alpha=2, conv_dim=3, train_text_encoder=False
    )
    adapters = from_tensors(loan, tensors)
    assert adapters.parts == ["unet"]
    again = adapters.state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in tensors.items())


def without(tensors, start):
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(start)}


def renamed(tensors, old, new):
    return {key.replace(old, new): tensor for key, tensor in tensors.items()}


def wider(tensors):
    return {
        k: torch.zeros(t.shape[0], 2048) if k.endswith("attn2_to_k.lora_down.weight") else t for k, t in tensors.items()
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: without(t, "lora_te"), "does not hold the text encoder"),
        (lambda t: without(t, "lora_unet"), "does not hold the U-Net"),
        (lambda t: without(t, "lora_unet_mid_block_attentions_0_proj_in"), "lacks `lora_unet_mid_block"),
        (lambda t: {**t, **{f"lora_unet_new.lora_{m}.weight": torch.ones(1) for m in ("down", "up")}}, "lora_unet_new"),
        (lambda t: renamed(renamed(t, "lora_te_", "lora_te1_"), "lora_unet_", "lora_unet_input_blocks_"), "for SDXL"),
        (wider, "for SDXL"),
        (lambda t: renamed(t, "lora_down.weight", "hada_w1_a"), "incomplete"),
        (lambda t: {**t, "lora_unet_mid_block_attentions_0_proj_in.dora_scale": torch.ones(1)}, "with DoRA"),
        (lambda t: renamed(t, "lora_down.weight", "lora_A.weight"), "diffusers"),
        (lambda t: {**t, "epoch": torch.ones(1)}, "epoch"),
        (lambda t: without(t, "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up"), "incomplete"),
        (lambda t: {k: v * float("nan") for k, v in t.items()}, "not finite"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(loan, change, says):
    adapters = build(loan, NetworkSettings(network_dim=4), seed=1)
    before = adapters.state_dict()
    with pytest.raises(SettingsError, match=says) as refused:
        adapters.load_state_dict(change(tensors_of(loan, network_dim=4)))
    assert refused.value.field == "network_weights"
    assert refused.value.remedy
    assert all(torch.equal(before[key], tensor) for key, tensor in adapters.state_dict().items())


def test_rank_and_type_are_named(loan):
    plain = build(loan, NetworkSettings(network_dim=4), seed=1)
    with pytest.raises(SettingsError, match="is a LoHa, the recipe a LoRA"):
        plain.load_state_dict(tensors_of(loan, network_dim=4, network_type="LoHa", network_preset="attn-mlp"))
    with pytest.raises(SettingsError, match="with DoRA, the recipe without"):
        plain.load_state_dict(tensors_of(loan, network_dim=4, weight_decompose=True))
    with pytest.raises(SettingsError, match="rank 8, the recipe 4"):
        plain.load_state_dict(tensors_of(loan, network_dim=8))
    with pytest.raises(SettingsError, match="also holds `lora_unet_.*LoCon"):
        plain.load_state_dict(tensors_of(loan, network_dim=4, network_type="LoCon"))
    wide = build(loan, NetworkSettings(network_dim=4, network_type="LoCon", conv_dim=2), seed=1)
    with pytest.raises(SettingsError, match="convolution rank 8, the recipe 2"):
        wide.load_state_dict(tensors_of(loan, network_dim=4, network_type="LoCon", conv_dim=8))


def test_files_that_cannot_be_read_are_named(loan, tmp_path):
    files = {"a.pt": b"\x80\x02", "b.safetensors": b"", "c.safetensors": b"\xff" * 100}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in (*files, "missing.safetensors"):
        with pytest.raises(SettingsError, match=name):
            read(tmp_path / name)
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(SettingsError, match="no tensors"):
        read(tmp_path / "empty.safetensors")


def test_a_checkpoint_is_no_lora(tiny_checkpoint):
    with pytest.raises(SettingsError, match="not a LoRA"):
        read(tiny_checkpoint)


def test_a_read_file_may_be_replaced(loan, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(tensors_of(loan, network_dim=2), path)
    tensors = read(path)
    copies = {key: tensor.clone() for key, tensor in tensors.items()}
    path.write_bytes(b"\0" * path.stat().st_size)
    assert all(torch.equal(copies[key], tensor) for key, tensor in tensors.items())


@pytest.mark.golden
def test_a_file_of_the_reference_trainer_is_read():
    tensors = read(golden_data.path("07_sample_lora.safetensors"))
    assert tensors.keys() == load_file(golden_data.path("07_sample_lora.safetensors")).keys()


def test_families_of_files():
    down = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"
    assert [family_of({down: torch.zeros(1, width)}) for width in (768, 1024, 2048, 32)] == ["SD1", "SD2", "SDXL", ""]
    assert family_of({"lora_te2_x.alpha": torch.zeros(())}) == "SDXL"
