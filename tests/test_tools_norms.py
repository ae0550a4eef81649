"""Norms per block: equal to those of the whole weights, in the model's order, for every kind a file tells of."""

from __future__ import annotations

import math

import pytest
import torch

from lib_lora_train.errors import ExportError
from lib_lora_train.export import lora_file
from lib_lora_train.tools.norms import norms

DOWN1, UP3 = "lora_unet_down_blocks_0_attentions_1_proj_in", "lora_unet_up_blocks_3_attentions_2_proj_in"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def saved(tmp_path, **modules):
    path = tmp_path / "x.safetensors"
    tensors = {f"{module}.{part}": value.clone() for module, parts in modules.items() for part, value in parts.items()}
    lora_file.save(path, tensors, {})
    return path


def blocks(path):
    return {one.block: one for one in norms(path).blocks}


def lora(rank=3, alpha=1.5, out=7, kernel=(1, 1), seed=0):
    up, down = draw(out, rank, 1, 1, seed=seed), draw(rank, 5, *kernel, seed=seed + 1)
    change = (up.flatten(1) @ down.flatten(1)) * alpha / rank
    return {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(alpha)}, change.norm().item()


def test_blocks_are_named_and_ordered_as_the_guides_do(tmp_path):
    first, one = lora()
    second, two = lora(seed=5, kernel=(3, 3))
    text, three = lora(seed=9)
    found = norms(saved(tmp_path, **{UP3: second, DOWN1: first, "lora_te_text_model_encoder_layers_0_mlp_fc1": text}))
    assert [block.block for block in found.blocks] == ["TE", "IN02", "OUT11"] and found.unknown == 0
    assert [block.norm for block in found.blocks] == pytest.approx([three, one, two], rel=1e-5)


def test_modules_of_a_block_add_up(tmp_path):
    first, one = lora()
    second, two = lora(seed=5)
    found = blocks(saved(tmp_path, **{DOWN1: first, DOWN1.replace("proj_in", "proj_out"): second}))
    assert found["IN02"].norm == pytest.approx(math.hypot(one, two), rel=1e-5) and found["IN02"].modules == 2


def test_sdxl_blocks_count_on_their_own(tmp_path):
    tensors, _ = lora()
    names = ["lora_unet_input_blocks_4_1_proj_in", "lora_unet_middle_block_1_proj_in", "lora_te2_x",
             "lora_unet_output_blocks_0_1_proj_in", "lora_unet_time_embed_0"]  # fmt: skip
    assert list(blocks(saved(tmp_path, **dict.fromkeys(names, tensors)))) == ["TE2", "IN04", "MID", "OUT00", "other"]


def test_other_kinds_have_the_norm_of_their_whole_weight(tmp_path):
    a, b, c, d = draw(6, 2), draw(2, 5, seed=1), draw(6, 2, seed=2), draw(2, 5, seed=3)
    loha = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(1.0)}
    kron = {"lokr_w1": draw(2, 3, seed=4), "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(4.0)}
    whole = {"diff": draw(4, 4, seed=6)}
    expected = [
        ((a @ b) * (c @ d)).norm().item() * 0.5,
        torch.kron(kron["lokr_w1"], a @ b).norm().item() * 2,
        whole["diff"].norm().item(),
    ]
    names = ["lora_unet_mid_block_resnets_0_conv1", DOWN1, UP3]
    found = blocks(saved(tmp_path, **dict(zip(names, (loha, kron, whole), strict=True))))
    assert [found[block].norm for block in ("MID", "IN02", "OUT11")] == pytest.approx(expected, rel=1e-5)


def test_what_a_file_alone_does_not_tell_is_counted(tmp_path):
    dora = {**lora()[0], "dora_scale": torch.ones(7, 1, 1, 1)}
    found = norms(saved(tmp_path, **{DOWN1: dora, UP3: {"oft_blocks": draw(2, 3, 3)}}))
    assert found.blocks == [] and found.unknown == 2


def test_a_file_that_is_no_lora_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ExportError):
        norms(path)
