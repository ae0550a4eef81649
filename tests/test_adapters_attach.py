"""Attached adapters do what a merge of the weights would; detached ones leave nothing, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib_lora_train.adapters.build import build, from_tensors
from lib_lora_train.families.borrow import rebind
from lib_lora_train.families.checkpointing import enable_checkpointing
from lib_lora_train.families.names import layers
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.schema import NetworkSettings

LOCON = NetworkSettings(network_type="LoCon", network_dim=4, network_alpha=2, conv_dim=3, conv_alpha=1)


@pytest.fixture
def loan(tiny_checkpoint):
    with StandaloneHost(tiny_checkpoint, tiny_checkpoint.parent, tiny_checkpoint.parent).lend() as loan:
        yield loan


def trained(loan, network=LOCON, size=0.3, seed=1):
    """Adapters as training might leave them."""
    adapters = build(loan, network, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in adapters.parts:
            for up in adapters.parameters(part)[1::2]:
                up.copy_(size * torch.randn(up.shape, generator=generator))
    return adapters


def outputs(loan, dtype=torch.float32):
    conditioning = loan.family.encode_text(loan, ["blob, red eyes"], 75, 2, dtype)
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4)).to(dtype)
    twice = conditioning.cat([conditioning, conditioning])
    return loan.family.predict(loan, noisy, torch.tensor([10, 800]), twice)


def traces(loan):
    return {
        (id(module), name, id(value))
        for owner in (loan.unet, *loan.text_encoders)
        for module in owner.modules()
        for name, value in module.__dict__.items()
    }


def test_detached_leaves_no_trace_and_not_one_bit(loan):
    before, picture = traces(loan), outputs(loan)
    adapters = trained(loan)
    assert torch.equal(outputs(loan), picture)
    adapters.attach()
    assert adapters.attached
    assert not torch.allclose(outputs(loan), picture, atol=1e-2)
    adapters.detach()
    assert not adapters.attached
    assert torch.equal(outputs(loan), picture)
    assert traces(loan) == before


def test_fresh_adapters_change_nothing(loan):
    picture = outputs(loan)
    build(loan, LOCON, 1).attach()
    assert torch.equal(outputs(loan), picture)


@pytest.mark.parametrize("multiplier", [1.0, -0.7])
def test_attached_equals_merged(tiny_checkpoint, loan, multiplier):
    """The second route: W + multiplier * alpha / rank * up @ down in the weights of another loan."""
    adapters = trained(loan)
    adapters.multiplier = multiplier
    adapters.attach()
    tensors = adapters.state_dict()
    with StandaloneHost(tiny_checkpoint, tiny_checkpoint.parent, tiny_checkpoint.parent).lend() as other:
        for owner, by_name in layers(other).items():
            prefix = "lora_unet_" if owner == "unet" else "lora_te_"
            for name, module in by_name.items():
                key = prefix + name.replace(".", "_")
                if f"{key}.alpha" in tensors:
                    down, up = tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"]
                    delta = torch.einsum("or,ri...->oi...", up.flatten(1), down) * tensors[f"{key}.alpha"] / len(down)
                    module.weight = torch.nn.Parameter(module.weight + multiplier * delta, requires_grad=False)
        torch.testing.assert_close(outputs(loan), outputs(other), rtol=1e-3, atol=1e-4)


def test_parts_have_their_own_strength(loan):
    adapters = trained(loan)
    adapters.attach()
    adapters.multipliers = {"text_encoder": 0.0, "unet": 1.0}
    unet_only = outputs(loan)
    adapters.detach()
    tensors = {key: t for key, t in adapters.state_dict().items() if key.startswith("lora_unet")}
    alone = from_tensors(loan, tensors)
    alone.attach()
    torch.testing.assert_close(outputs(loan), unet_only)


@pytest.mark.parametrize("attached", [True, False])
def test_without(loan, attached):
    picture, adapters = outputs(loan), trained(loan)
    if attached:
        adapters.attach()
    shown = outputs(loan)
    with pytest.raises(ValueError), adapters.without():
        assert torch.equal(outputs(loan), picture)
        raise ValueError
    assert adapters.attached == attached
    assert torch.equal(outputs(loan), shown)


def test_two_sets_add_up_and_come_off_in_reverse_order(loan):
    before, picture = traces(loan), outputs(loan)
    first, second = trained(loan, seed=1), trained(loan, seed=2)
    first.attach()
    one = outputs(loan)
    second.attach()
    assert not torch.allclose(outputs(loan), one, atol=1e-2)
    with pytest.raises(RuntimeError):
        first.detach()
    second.detach()
    assert torch.equal(outputs(loan), one)
    first.detach()
    assert torch.equal(outputs(loan), picture)
    assert traces(loan) == before


def test_attaching_twice_is_a_mistake(loan):
    adapters = trained(loan)
    adapters.attach()
    with pytest.raises(RuntimeError):
        adapters.attach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_adapter_gets_a_gradient_and_no_borrowed_weight(loan, dtype, checkpointing):
    adapters = trained(loan)
    adapters.attach()
    enable_checkpointing(loan, checkpointing)
    outputs(loan, dtype).square().mean().backward()
    enable_checkpointing(loan, False)
    skipped = adapters.parameters("text_encoder")[-12:]  # with CLIP skip 2 the last layer plays no part
    assert all(p.grad is None for p in skipped)
    for p in (*adapters.parameters("unet"), *adapters.parameters("text_encoder")[:-12]):
        assert p.grad.dtype == torch.float32
        assert p.grad.abs().sum() > 0
    assert all(p.grad is None for module in (loan.unet, *loan.text_encoders) for p in module.parameters())


def test_checkpointing_gives_the_same_gradients(loan):
    def gradients(on):
        adapters = trained(loan)
        adapters.attach()
        enable_checkpointing(loan, on)
        outputs(loan).square().mean().backward()
        enable_checkpointing(loan, False)
        adapters.detach()
        return [p.grad for part in adapters.parts for p in adapters.parameters(part) if p.grad is not None]

    for plain, saved in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, saved)


def test_gradients_are_those_of_finite_differences(loan):
    adapters = trained(loan)
    adapters.attach()
    up = adapters.parameters("unet")[1]
    outputs(loan).square().mean().backward()
    step = torch.zeros_like(up)
    step[0, 0] = 1e-2
    with torch.no_grad():
        up += step
        high = outputs(loan).square().mean()
        up -= 2 * step
        low = outputs(loan).square().mean()
    assert ((high - low) / 2e-2).item() == pytest.approx(up.grad[0, 0].item(), rel=0.05, abs=1e-5)


def test_adapters_follow_when_the_hosts_tensors_move(tiny_checkpoint):
    host = StandaloneHost(tiny_checkpoint, tiny_checkpoint.parent, tiny_checkpoint.parent)
    with host.lend() as loan:
        adapters = trained(loan)
        adapters.attach()
        shown = outputs(loan)
        source = host._held.source
        moved = replace(
            source,
            unet={key: tensor.clone() for key, tensor in source.unet.items()},
            text_encoders=[{key: tensor.clone() for key, tensor in source.text_encoders[0].items()}],
        )
        rebind(loan, moved)
        for tensor in (*source.unet.values(), *source.text_encoders[0].values()):
            tensor.fill_(float("nan"))  # a private map: the file keeps its bytes
        assert torch.equal(outputs(loan), shown)
