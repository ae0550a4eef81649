"""Borrowed modules: the host's own memory, the same results as an ordinary load, nothing left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from lib_lora_train.errors import HostError
from lib_lora_train.families.assign import alias
from lib_lora_train.families.borrow import Source, borrow, rebind
from lib_lora_train.families.loan import Identity, Loan
from lib_lora_train.hosts.checkpoint_file import under


def source_of(tensors):
    return Source(
        unet=under(tensors, "model.diffusion_model."),
        text_encoders=[under(tensors, "cond_stage_model.transformer.")],
        vae=under(tensors, "first_stage_model."),
        heads=4,
        text_heads=[4],
    )


@pytest.fixture(scope="module")
def tensors(tiny_checkpoint):
    return load_file(tiny_checkpoint)


@pytest.fixture
def borrowed(tensors):
    return borrow(source_of(tensors))


def modules(borrowed):
    return [borrowed.unet, borrowed.vae, *borrowed.text_encoders]


def loan_of(borrowed):
    return Loan(
        borrowed.family, borrowed.unet, borrowed.text_encoders, [], borrowed.vae, torch.ones(1), "epsilon", False,
        0.18215, 1, Identity("x"), torch.device("cpu"),
    )  # fmt: skip


def test_every_parameter_lies_in_the_hosts_memory(tensors, borrowed):
    theirs = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
    ours = [p for module in modules(borrowed) for p in module.parameters()]
    assert {p.untyped_storage().data_ptr() for p in ours} == theirs
    assert sum(p.numel() for p in ours) == sum(t.numel() for t in tensors.values())
    assert not any(p.requires_grad for p in ours)
    assert not any(layer.training for module in modules(borrowed) for layer in module.modules())
    assert not any(b.is_meta for module in modules(borrowed) for b in module.buffers())


def test_results_equal_modules_that_were_loaded_the_ordinary_way(borrowed):
    """The second route: the library's own classes with copies of the same parameters."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    def ordinary(module, kind):
        other = kind.from_config(module.config) if kind is not CLIPTextModel else kind(module.config)
        other.load_state_dict({name: p.clone() for name, p in module.state_dict().items()})
        return other.eval()

    generator = torch.Generator().manual_seed(1)
    noisy, steps = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([3, 700])
    ids, pixels = torch.arange(2 * 77).reshape(2, 77), torch.randn(1, 3, 32, 32, generator=generator)
    with torch.no_grad():
        text = borrowed.text_encoders[0]
        context = text(ids)[0]
        assert torch.equal(context, ordinary(text, CLIPTextModel)(ids)[0])
        unet = ordinary(borrowed.unet, UNet2DConditionModel)
        assert torch.equal(borrowed.unet(noisy, steps, context)[0], unet(noisy, steps, context)[0])
        vae = ordinary(borrowed.vae, AutoencoderKL)
        assert torch.equal(borrowed.vae.encode(pixels)[0].mean, vae.encode(pixels)[0].mean)
        assert torch.equal(borrowed.vae.decode(noisy)[0], vae.decode(noisy)[0])


def test_inference_tensors_can_be_trained_through(tensors):
    with torch.inference_mode():
        hosts = {key: tensor.clone() for key, tensor in tensors.items()}
        borrowed = borrow(source_of(hosts))
    weight = borrowed.unet.conv_in.weight
    assert not weight.is_inference()
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    borrowed.unet(x, torch.tensor([1]), torch.zeros(1, 77, 32))[0].sum().backward()
    assert torch.isfinite(x.grad).all()
    assert weight.untyped_storage().data_ptr() == (
        hosts["model.diffusion_model.input_blocks.0.0.weight"].untyped_storage().data_ptr()
    )


def test_alias_sees_changes_of_the_same_memory():
    whole = torch.arange(12.0).reshape(3, 4)
    part = alias(whole[1:, ::2])
    whole[2, 2] = -1
    assert torch.equal(part, whole[1:, ::2])


def test_rebind_points_the_same_module_objects_at_new_tensors(tensors):
    loan = loan_of(borrow(source_of(tensors)))
    conv, before = loan.unet.conv_in, loan.unet.conv_in.weight.clone()
    moved = {key: tensor * 2 for key, tensor in tensors.items()}
    rebind(loan, source_of(moved))
    assert loan.unet.conv_in is conv
    assert torch.equal(conv.weight, before * 2)
    assert loan.generation == 1


def test_a_failed_rebind_changes_nothing(tensors):
    loan = loan_of(borrow(source_of(tensors)))
    before = loan.unet.conv_in.weight.data_ptr()
    bad = {key: tensor.clone() for key, tensor in tensors.items()}
    bad["first_stage_model.quant_conv.bias"] = torch.zeros(3)
    with pytest.raises(HostError, match="quant_conv.bias"):
        rebind(loan, source_of(bad))
    assert (loan.unet.conv_in.weight.data_ptr(), loan.generation) == (before, 0)


def changed(tensors, key, value):
    return source_of({**tensors, key: value})


KEY = "model.diffusion_model.middle_block.1.proj_in.weight"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(64, 64, 1, 1, dtype=torch.int8), "quantised"),
        (torch.zeros(64, 64, 1, 1, device="meta"), "not loaded"),
        (torch.zeros(64, 63, 1, 1), "shape"),
    ],
)
def test_what_cannot_be_borrowed_is_named(tensors, value, says):
    with pytest.raises(HostError, match=says) as refused:
        borrow(changed(tensors, KEY, value))
    assert refused.value.remedy


def test_a_missing_tensor_is_named(tensors):
    with pytest.raises(HostError, match="mid_block.attentions.0.proj_in.bias"):
        borrow(source_of({k: t for k, t in tensors.items() if k != KEY.replace("weight", "bias")}))


@pytest.mark.parametrize(("part", "says"), [("first_stage_model", "VAE"), ("cond_stage_model", "text encoder")])
def test_a_checkpoint_without_a_part_says_which(tensors, part, says):
    with pytest.raises(HostError, match=says):
        borrow(source_of({key: tensor for key, tensor in tensors.items() if not key.startswith(part)}))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_never_a_crash(tensors, data):
    key = data.draw(st.sampled_from(sorted(tensors)))
    start = ".".join(key.split(".")[: data.draw(st.integers(2, 9))])
    assume(not start.endswith("encoder.layers.2"))  # without its last layer it is a whole, shorter text encoder
    with pytest.raises(HostError) as refused:
        borrow(source_of({key: tensor for key, tensor in tensors.items() if not key.startswith(start)}))
    assert refused.value.remedy


def test_a_second_text_encoder_is_missed(tensors):
    with pytest.raises(HostError, match="1 of 2 text encoders"):
        borrow(changed(tensors, "model.diffusion_model.label_emb.0.0.weight", torch.zeros(8, 8)))


def test_odd_leftovers_do_not_disturb(tensors):
    """Old text encoders carry position numbers, even in floating point; VAE files carry losses."""
    source = changed(tensors, "cond_stage_model.transformer.text_model.embeddings.position_ids", torch.zeros(1, 77))
    source = replace(source, vae={**source.vae, "loss.logvar": torch.zeros(())})
    text = borrow(source).text_encoders[0]
    ids = torch.arange(77)[None]
    assert torch.equal(text(ids)[0], borrow(source_of(tensors)).text_encoders[0](ids)[0])


def test_keys_without_text_model_and_with_a_wrapped_embedding(tensors, borrowed):
    def respelt(key):
        key = key.removeprefix("text_model.")
        return key.replace("token_embedding.weight", "token_embedding.wrapped.weight")

    source = source_of(tensors)
    other = borrow(replace(source, text_encoders=[{respelt(k): t for k, t in source.text_encoders[0].items()}]))
    ids = torch.arange(77)[None]
    assert torch.equal(other.text_encoders[0](ids)[0], borrowed.text_encoders[0](ids)[0])
