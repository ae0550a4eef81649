"""Key maps: full-size SD1.5 fits the libraries' modules, odd layouts are told apart and refused by name."""

from __future__ import annotations

import golden_data
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.ldm_layout import SD15, Sizes, checkpoint
from lib_lora_train.errors import HostError
from lib_lora_train.families.detect import detect
from lib_lora_train.families.keys_clip import canonical, clip_layout
from lib_lora_train.families.keys_unet import unet_layout
from lib_lora_train.families.keys_vae import vae_layout

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."


def part(sizes, prefix):
    shapes = checkpoint(sizes)
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def shapes_of(module):
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


def on_meta(kind, config):
    with torch.device("meta"):
        return kind(**config)


def unet_agrees(sizes):
    from diffusers import UNet2DConditionModel

    shapes = part(sizes, UNET)
    layout = unet_layout(shapes, sizes.heads)
    module = on_meta(UNet2DConditionModel, layout.config)
    assert shapes_of(module) == {name: shapes[key] for name, key in layout.names.items()}
    return module, layout


def test_full_unet_has_the_shapes_and_heads_of_the_library():
    module, layout = unet_agrees(SD15)
    assert len(layout.names) == 686
    assert sum(p.numel() for p in module.parameters()) == 859_520_964  # SD1.5's published size
    assert module.mid_block.attentions[0].transformer_blocks[0].attn1.heads == 8


def test_full_vae_has_the_shapes_of_the_library():
    from diffusers import AutoencoderKL

    shapes = part(SD15, VAE)
    layout = vae_layout(shapes)
    module = on_meta(AutoencoderKL, layout.config)
    borrowed = {name: shapes[key] for name, key in layout.names.items()}
    linear = {name: shape[:2] if "attentions" in name else shape for name, shape in borrowed.items()}
    assert shapes_of(module) == linear
    assert len(linear) == 248
    assert sum(p.numel() for p in module.parameters()) == 83_653_863


def test_text_model_of_full_size():
    from transformers import CLIPTextConfig, CLIPTextModel

    shapes = part(SD15, TEXT)
    layout = clip_layout(shapes)
    module = on_meta(CLIPTextModel, {"config": CLIPTextConfig(**layout.config)})
    found = {canonical(name): shape for name, shape in shapes_of(module).items()}
    assert found == {name: shapes[key] for name, key in layout.names.items()}
    assert layout.config["num_attention_heads"] == 12
    assert sum(p.numel() for p in module.parameters()) == 123_060_480


@settings(max_examples=6, deadline=None)
@given(factors=st.lists(st.sampled_from([1, 2, 3]), max_size=3), blocks=st.integers(1, 3), attended=st.integers(0, 4))
def test_any_unet_of_ldm_fits(factors, blocks, attended):
    unet_agrees(Sizes(multipliers=(1, *factors), blocks=blocks, attended=attended))


@pytest.mark.golden
def test_every_reference_module_exists_in_our_map():
    table = golden_data.facts("04_lora_modules")["networks"]
    rows = [row for network in table if network["model"] == "sd15" for row in network["modules"]]
    ours = {"lora_unet_" + name.rpartition(".")[0].replace(".", "_") for name in unet_layout(part(SD15, UNET), 8).names}
    assert {name for name, *_ in rows if name.startswith("lora_unet_")} <= ours


@pytest.mark.parametrize(
    "key", ["text_model.embeddings.token_embedding.wrapped.weight", "embeddings.token_embedding.weight"]
)
def test_spellings_of_the_same_text_key(key):
    assert canonical(key) == "text_model.embeddings.token_embedding.weight"


def with_shape(shapes, key, shape):
    return {**shapes, key: shape}


CASES = {
    "SD1": lambda s: s,
    "SD2": lambda s: {k: v[:2] if k.endswith(("proj_in.weight", "proj_out.weight")) else v for k, v in s.items()},
    "SDXL": lambda s: with_shape(s, "label_emb.0.0.weight", (1280, 2816)),
}


@pytest.mark.parametrize("family", CASES)
def test_families_are_told_apart(family):
    assert detect(CASES[family](part(Sizes(), UNET))) == family


@pytest.mark.parametrize(("inputs", "name"), [(9, "inpainting"), (8, "pix2pix"), (5, "depth"), (6, "6 input channels")])
def test_models_with_other_inputs_are_refused_by_name(inputs, name):
    shapes = with_shape(part(Sizes(), UNET), "input_blocks.0.0.weight", (32, inputs, 3, 3))
    with pytest.raises(HostError, match=name) as refused:
        detect(shapes)
    assert refused.value.remedy


def test_other_architectures_are_refused():
    with pytest.raises(HostError, match="transformer"):
        detect({"joint_blocks.0.x_block.attn.qkv.weight": (1, 1)})
    with pytest.raises(HostError):
        detect({})


@pytest.mark.parametrize("extra", ["input_blocks.1.2.weight", "output_blocks.9.0.strange.weight", "new.weight"])
def test_unknown_tensors_are_named(extra):
    with pytest.raises(HostError, match=r"`"):
        unet_layout(with_shape(part(Sizes(), UNET), extra, (1, 1)), 8)
