"""Layers over weights of another dtype: plain results where dtypes agree, close ones where not, right gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib_lora_train.families.checkpointing import enable_checkpointing
from lib_lora_train.families.precision import computing_in, make_casting
from lib_lora_train.hosts.standalone import StandaloneHost

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (2, 3, 6)),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), (3, 6)),
    "conv": (lambda: nn.Conv2d(4, 8, 3, padding=1), (2, 4, 5, 5)),
    "strided conv": (lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1), (2, 4, 6, 5)),
    "1x1 conv": (lambda: nn.Conv2d(4, 8, 1), (2, 4, 5, 5)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (2, 4, 5, 5)),
    "layer norm": (lambda: nn.LayerNorm(6), (2, 3, 6)),
}


def pair(name):
    make, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(3)
    layer = make().requires_grad_(False)
    for p in layer.parameters():
        p.copy_(torch.randn(p.shape, generator=generator))
    return layer, make_casting(copy.deepcopy(layer)), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_dtype_is_the_plain_layer_bit_for_bit(name, dtype):
    plain, ours, x = pair(name)
    assert torch.equal(ours.to(dtype)(x.to(dtype)), plain.to(dtype)(x.to(dtype)))
    assert list(ours.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("weights", [torch.float16, torch.bfloat16])
def test_other_weights_give_what_converted_weights_would(name, weights):
    """In fp32 the result and the gradient are those of a layer whose weights were converted beforehand."""
    plain, ours, x = pair(name)
    plain, ours = plain.to(weights).float(), ours.to(weights)
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, actual = plain(first), ours(second)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected)
    expected.square().sum().backward()
    actual.square().sum().backward()
    torch.testing.assert_close(second.grad, first.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_fp16_weights_work_in_bf16(name):
    plain, ours, x = pair(name)
    x = x.bfloat16().requires_grad_()
    out = ours.half()(x)
    out.sum().backward()
    assert out.dtype == x.grad.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), plain(x.detach().float()), rtol=0.05, atol=0.1)


def test_no_converted_copy_of_a_weight_is_kept_for_backward():
    _, ours, x = pair("linear")
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.dtype) or t, lambda t: t):
        ours.half()(x.requires_grad_())
    assert kept == [torch.float16]


def test_embeddings_answer_in_the_compute_dtype():
    layer = make_casting(nn.Embedding(5, 3).half())
    assert layer(torch.tensor([1])).dtype == torch.float16
    with computing_in(layer, torch.float32):
        assert torch.equal(layer(torch.tensor([1])), layer.weight[1:2].float())
    assert layer(torch.tensor([1])).dtype == torch.float16


@pytest.fixture(scope="module")
def half_loan(tmp_path_factory):
    from demo import tiny

    folder = tmp_path_factory.mktemp("half")
    host = StandaloneHost(tiny.make(folder, dtype=torch.float16), folder, folder)
    with host.lend() as loan:
        yield loan


def run(loan, dtype, noisy):
    conditioning = loan.family.encode_text(loan, ["a red circle"], 75, 2, dtype)
    assert conditioning.context.dtype == dtype
    return loan.family.predict(loan, noisy.to(dtype), torch.tensor([400]), conditioning)


def test_a_checkpoint_in_fp16_trains_on_a_cpu_in_fp32_and_bf16(half_loan):
    generator = torch.Generator().manual_seed(1)
    noisy, pixels = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 3, 32, 32, generator=generator)
    full, brief = (run(half_loan, dtype, noisy) for dtype in (torch.float32, torch.bfloat16))
    assert full.dtype == brief.dtype == torch.float32
    assert (full - brief).abs().max() < 0.1 * full.abs().max()
    for dtype in (torch.float32, torch.bfloat16):
        latents = half_loan.vae.encode(pixels.to(dtype)).latent_dist.mean
        assert latents.dtype == half_loan.vae.decode(latents).sample.dtype == dtype


def test_checkpointing_changes_no_number_and_leaves_no_trace(half_loan):
    def gradients():
        bias = torch.zeros(32, requires_grad=True)
        layer = half_loan.text_encoders[0]
        hook = next(m for n, m in layer.named_modules() if n.endswith("layers.0.layer_norm1")).register_forward_hook(
            lambda _m, _a, out: out + bias
        )
        run(half_loan, torch.float32, torch.ones(1, 4, 8, 8)).square().sum().backward()
        hook.remove()
        return bias.grad

    def kept():
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            noisy = torch.ones(1, 4, 8, 8, requires_grad=True)
            run(half_loan, torch.float32, noisy)
        return sum(sizes)

    before, plain, size = traces(half_loan), gradients(), kept()
    enable_checkpointing(half_loan, True)
    enable_checkpointing(half_loan, True)
    assert torch.equal(gradients(), plain)
    assert kept() < 0.6 * size
    enable_checkpointing(half_loan, False)
    assert traces(half_loan) == before
    assert torch.equal(gradients(), plain)


def traces(loan):
    owners = [loan.unet, *loan.text_encoders]
    return {(id(m), name) for owner in owners for m in owner.modules() for name in m.__dict__}
