"""Which modules get adapters, of which shapes, in which order, and how they begin: golden 04 and properties."""

from __future__ import annotations

import math
from functools import lru_cache

import golden_data
import pytest
import torch

from demo.ldm_layout import SD15, SD21, SDXL10, checkpoint
from lib_lora_train.adapters.build import build
from lib_lora_train.errors import SettingsError
from lib_lora_train.families.keys_clip import clip_layout
from lib_lora_train.families.keys_openclip import respelt
from lib_lora_train.families.keys_unet import unet_layout
from lib_lora_train.families.known import FAMILIES
from lib_lora_train.families.loan import Identity, Loan
from lib_lora_train.hosts.checkpoint_file import under
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.schema import NetworkSettings

NETWORKS = golden_data.facts("04_lora_modules")["networks"]
FULL = {"sd15": SD15, "sd21": SD21, "sdxl": SDXL10}


@lru_cache(maxsize=1)
def full(model):
    """SD1.5, SD2.1 or SDXL at its true size, without memory."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    shapes, family = checkpoint(FULL[model]), FAMILIES[FULL[model].family]
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_layout(under(shapes, "model.diffusion_model."), kind=family.unet).config)
        held = [{k: torch.empty(shape) for k, shape in under(shapes, kind.prefix).items()} for kind in family.texts]
        parts = [respelt(tensors, kind) for tensors, kind in zip(held, family.texts, strict=True)]
        configs = [clip_layout({k: tuple(t.shape) for k, t in part.items()}).config for part in parts]
        texts = [CLIPTextModel(CLIPTextConfig(**config)) for config in configs]
    return Loan(
        family, unet, texts, [], torch.nn.Module(), torch.ones(1), "epsilon", False, family.vae_scale, 1,
        Identity("x"), torch.device("cpu"),
    )  # fmt: skip


def settings_of(reference):
    args = reference["network_args"]
    return NetworkSettings(
        network_type="LoCon" if args else "LoRA",
        network_dim=reference["network_dim"],
        network_alpha=reference["network_alpha"],
        conv_dim=int(args.get("conv_dim", 64)),
        conv_alpha=float(args.get("conv_alpha", 64)),
    )


# the plain network twice, so that nothing leaks from one with convolutions into the next
@pytest.mark.golden
@pytest.mark.parametrize(
    "reference", [*NETWORKS, NETWORKS[-2]], ids=lambda n: f"{n['model']} {'LoCon' if n['network_args'] else 'LoRA'}"
)
def test_modules_shapes_alphas_and_order_are_the_references(reference):
    adapters = build(full(reference["model"]), settings_of(reference), seed=1)
    tensors = adapters.state_dict()
    first = reference["first_keys_in_file_order"]
    assert list(tensors)[: len(first)] == first
    names = [key.removesuffix(".alpha") for key in tensors if key.endswith(".alpha")]
    rows = [
        [name, list(tensors[f"{name}.lora_down.weight"].shape), list(tensors[f"{name}.lora_up.weight"].shape)]
        + [float(tensors[f"{name}.alpha"])]
        for name in names
    ]
    assert rows == reference["modules"]
    assert all(tensors[key].dim() == 0 for key in tensors if key.endswith(".alpha"))
    counts = {part: len(adapters.parameters(part)) // 2 for part in adapters.parts}
    assert counts == {"text_encoder": reference["text_encoder_modules"], "unet": reference["unet_modules"]}
    assert sum(p.numel() for part in adapters.parts for p in adapters.parameters(part)) == reference["parameters"]


@pytest.mark.golden
def test_a_network_with_convolutions_leaves_nothing_to_the_next_one():
    """The reference's next network has modules too many (docs/differences.md)."""
    leak, loan = golden_data.facts("04_lora_class_state_leak"), full("sd15")
    build(loan, NetworkSettings(network_type="LoCon"), seed=1)
    plain = build(loan, NetworkSettings(), seed=1)
    counts = [len(plain.parameters(part)) // 2 for part in ("text_encoder", "unet")]
    assert counts == leak["modules_in_a_fresh_process"]
    names = {key.partition(".")[0] for key in plain.state_dict()}
    assert not names & set(leak["extra_modules"])


@pytest.fixture(scope="module")
def loan(tiny_checkpoint):
    with StandaloneHost(tiny_checkpoint, tiny_checkpoint.parent, tiny_checkpoint.parent).lend() as loan:
        yield loan


@pytest.mark.parametrize(
    ("unet", "text", "parts", "prefixes"),
    [
        (True, True, ["text_encoder", "unet"], {"lora_te", "lora_unet"}),
        (True, False, ["unet"], {"lora_unet"}),
        (False, True, ["text_encoder"], {"lora_te"}),
    ],
)
def test_only_the_wanted_parts_are_there(loan, unet, text, parts, prefixes):
    adapters = build(loan, NetworkSettings(train_unet=unet, train_text_encoder=text), seed=1)
    assert adapters.parts == parts
    assert {"_".join(key.split("_")[:2]) for key in adapters.state_dict()} == prefixes


def test_training_nothing_is_refused(loan):
    with pytest.raises(SettingsError) as refused:
        build(loan, NetworkSettings(train_unet=False, train_text_encoder=False), seed=1)
    assert refused.value.field == "train_unet"


def test_alpha_zero_means_the_rank(loan):
    network = NetworkSettings(network_type="LoCon", network_dim=6, network_alpha=0, conv_dim=3, conv_alpha=0)
    tensors = build(loan, network, seed=1).state_dict()
    for key in (k for k in tensors if k.endswith(".alpha")):
        assert tensors[key] == tensors[key.replace("alpha", "lora_down.weight")].shape[0]


def test_the_beginning_depends_on_seed_and_module_alone(loan):
    everything = build(loan, NetworkSettings(network_type="LoCon"), seed=5).state_dict()
    alone = build(loan, NetworkSettings(train_text_encoder=False), seed=5).state_dict()
    other = build(loan, NetworkSettings(), seed=6).state_dict()
    assert all(torch.equal(everything[key], tensor) for key, tensor in alone.items())
    downs = [key for key in other if key.endswith("down.weight")]
    assert not any(torch.equal(other[key], everything[key]) for key in downs)
    assert len({everything[key].flatten()[0].item() for key in downs}) == len(downs)


def test_the_beginning_is_uniform_and_changes_nothing(loan):
    tensors = build(loan, NetworkSettings(network_type="LoCon", network_dim=64), seed=5).state_dict()
    for key, tensor in tensors.items():
        if key.endswith("lora_up.weight"):
            assert not tensor.any()
        if key.endswith("lora_down.weight"):
            bound = 1 / math.sqrt(tensor[0].numel())
            assert tensor.abs().max() <= bound
            assert tensor.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_what_is_trained_is_float32_and_nothing_else_moves(loan):
    adapters = build(loan, NetworkSettings(), seed=1)
    trained = [p for part in adapters.parts for p in adapters.parameters(part)]
    assert {p.dtype for p in trained} == {torch.float32}
    assert all(p.requires_grad for p in trained)
    assert not any(p.requires_grad for m in (loan.unet, *loan.text_encoders) for p in m.parameters())
