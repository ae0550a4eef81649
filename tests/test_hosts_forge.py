"""Forge lends inference tensors, loads lazily, moves weights and merges LoRAs: played with real tensors, in its way."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forge_stage import Forge, Patcher, RefreshingPatcher, install
from safetensors.torch import load_file, save_file
from torch import nn

from lib_lora_train.errors import CheckpointSwitched, HostError
from lib_lora_train.hosts import detect
from lib_lora_train.hosts.checkpoint_file import shapes
from lib_lora_train.hosts.forge import checkpoint, loras
from lib_lora_train.hosts.lock import is_locked

LAYER = "diffusion_model.middle_block.1.proj_in.weight"


@pytest.fixture(params=[RefreshingPatcher, Patcher], ids=["f2", "neo"])
def forge(request, tiny_checkpoint, tmp_path, monkeypatch) -> Forge:
    forge = Forge(tiny_checkpoint, tmp_path, request.param)
    install(monkeypatch, forge.modules())
    return forge


@pytest.fixture
def host(forge: Forge):
    host = detect.host()
    assert host.name == "Forge f2.0.1"
    yield host
    assert not is_locked(forge.lock)


@pytest.fixture
def other(tiny_checkpoint, tmp_path) -> Path:
    path = tmp_path / "other.safetensors"
    save_file({key: tensor * 1.5 for key, tensor in load_file(tiny_checkpoint).items()}, path)
    return path


def held(loan) -> set[int]:
    """The storages its modules have."""
    modules = (loan.unet, *loan.text_encoders, loan.vae)
    return {p.untyped_storage().data_ptr() for module in modules for p in module.parameters() if not p.is_meta}


def theirs(forge: Forge) -> set[int]:
    objects = forge.data.sd_model.forge_objects_original
    parts = (objects.unet.model, objects.clip.cond_stage_model, objects.vae.first_stage_model)
    return {p.untyped_storage().data_ptr() for part in parts for p in part.parameters()}


def test_inference_tensors_are_lent_without_copies_and_can_be_trained_through(host, forge: Forge):
    with host.lend() as loan:
        assert next(iter(forge.unet.parameters())).is_inference()
        assert held(loan) == theirs(forge)
        assert (loan.family.name, loan.prediction, loan.vae_scale, loan.clip_skip) == ("SD1", "epsilon", 0.18215, 1)
        noisy = torch.ones((1, 4, 8, 8), requires_grad=True)
        context = torch.ones((1, 77, loan.unet.config.cross_attention_dim))
        loan.unet(noisy, torch.tensor([5]), context, return_dict=False)[0].sum().backward()
        assert noisy.grad.abs().sum() > 0
        before = forge.weights()
    assert not held(loan)
    assert forge.weights() == before


def test_merged_loras_are_taken_out_exactly(host, forge: Forge):
    with host.lend():
        plain = forge.weights()
    forge.draw({LAYER: 0.5})
    assert forge.weights() != plain
    with host.lend() as loan:
        assert held(loan) == theirs(forge)
        assert forge.weights() == plain
        model = forge.data.sd_model
        assert model.forge_objects_after_applying_lora.unet is model.forge_objects_original.unet
        assert model.current_lora_hash == "[]"
        with host.away(loan):
            assert not held(loan)  # or Forge could not free the memory
            forge.draw({LAYER: 0.5})
        assert forge.weights() == plain and held(loan) == theirs(forge)


def test_only_drawing_switches(host, forge: Forge, tiny_checkpoint, other):
    with host.lend() as loan:
        forge.choose(other)
        with host.away(loan):
            pass
        assert forge.loads == 1 and held(loan) == theirs(forge)
        for _ in range(2):  # however often it is tried
            with pytest.raises(CheckpointSwitched, match="other"), host.away(loan):
                forge.draw({})
            assert not held(loan) and not is_locked(forge.lock)
        forge.choose(tiny_checkpoint)
        assert host.identity().key == loan.identity.key
        with host.away(loan):
            pass
        assert forge.loads == 3 and held(loan) == theirs(forge)


def test_a_picture_of_another_checkpoint_in_between_is_undone(host, forge: Forge, tiny_checkpoint, other):
    """An API call that overrides the checkpoint leaves it loaded, with the old one chosen again."""
    with host.lend() as loan:
        with host.away(loan):
            forge.choose(other)
            forge.draw({})
            forge.choose(tiny_checkpoint)
        assert forge.data.forge_hash == str(forge.data.forge_loading_parameters)
        assert held(loan) == theirs(forge)


def test_files_chosen_beside_the_checkpoint_are_part_of_it(host, forge: Forge, tiny_checkpoint):
    with host.lend() as loan:
        forge.choose(tiny_checkpoint, "/models/VAE/bright.safetensors", "/models/text/small.safetensors")
        with pytest.raises(CheckpointSwitched, match="VAE"), host.away(loan):
            forge.draw({})
    with host.lend() as loan:
        assert loan.identity.vae == host.status().vae == "bright.safetensors, small.safetensors"
        assert "bright.safetensors" in loan.notes[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_unet_in_fewer_bits_is_lent_as_it_is(host, forge: Forge, dtype):
    forge.dtype = dtype
    with host.lend() as loan:
        assert loan.weights_dtype == dtype and held(loan) == theirs(forge)
        assert any("fp8" in note for note in loan.notes) == (dtype == torch.float8_e4m3fn)


class ForgeParams4bit(nn.Parameter):
    """As bitsandbytes' parameters: a class of their own, packed bytes."""


class ParameterGGUF(nn.Parameter):
    """As Forge's parameters of GGUF files."""


@pytest.mark.parametrize(
    ("kind", "storage", "said"), [(ForgeParams4bit, "nf4", "nf4"), (ParameterGGUF, torch.float16, "GGUF")]
)
def test_quantised_weights_are_refused_by_name(host, forge: Forge, kind, storage, said):
    with host.lend():
        pass
    owner = forge.unet.get_submodule(LAYER.removesuffix(".weight"))
    shape = owner.weight.shape
    owner._parameters["weight"] = kind(torch.zeros(shape, dtype=torch.uint8), requires_grad=False)
    forge.unet.storage_dtype = storage
    with pytest.raises(HostError, match=said), host.lend():
        pass
    assert said in host.status().problem and "Low Bits" in host.status().remedy


def test_a_choice_of_four_bits_is_refused_before_anything_is_loaded(host, forge: Forge, monkeypatch):
    forge.data.forge_loading_parameters["unet_storage_dtype"] = "nf4"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: sys if name == "bitsandbytes" else None)
    assert "nf4" in host.status().problem and "Low Bits" in host.status().remedy
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert host.status().problem == "", "Forge without bitsandbytes stores it plainly"


def test_before_the_first_picture_the_file_tells_what_it_is(host, forge: Forge, tiny_checkpoint, tmp_path):
    status = host.status()
    assert (status.checkpoint, status.family, status.problem) == (tiny_checkpoint.name, "SD1", "")
    assert forge.loads == 0 and host.identity().path == str(tiny_checkpoint)
    forge.data.forge_loading_parameters = {}
    assert host.identity() is None and "chosen" in host.status().problem
    with pytest.raises(HostError, match="chosen"), host.lend():
        pass


@pytest.mark.parametrize(
    "content", [b"", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 64, b"\x0a\0\0\0\0\0\0\0" + b'{"a":"b"}\n']
)
def test_headers_that_tell_nothing(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    assert shapes(path) == {}
    assert shapes(tmp_path / "absent.safetensors") == shapes(tmp_path / "other.ckpt") == {}


def test_after_a_load_that_failed_the_next_one_loads(host, forge: Forge, tiny_checkpoint, tmp_path):
    """Forge itself believes that what was loaded before still is."""
    with host.lend():
        pass
    forge.choose(tmp_path / "broken.safetensors")
    with pytest.raises(HostError, match="could not load"), host.lend():
        pass
    forge.choose(tiny_checkpoint)
    with host.lend() as loan:
        assert held(loan) == theirs(forge)


def test_a_new_file_under_an_old_name_is_read_anew(host, forge: Forge):
    """Otherwise equal names and weights leave the old file merged."""
    forge.draw({LAYER: 0.5})
    model = forge.data.sd_model
    mark = model.current_lora_hash
    loras.forget(model)
    assert model.current_lora_hash != mark
    assert forge.unet.lora_loader.loaded_hash != mark
    forge.draw({})
    with host.lend():
        assert not forge.unet.lora_loader.backup


def test_contents_of_files_are_let_go(host, forge: Forge, monkeypatch, tmp_path):
    dropped = []
    load = SimpleNamespace(cache_clear=lambda: dropped.append("all"))
    extension = SimpleNamespace(list_available_networks=None, loaded_networks=[], load_lora_state_dict=load)
    monkeypatch.setitem(sys.modules, "networks", extension)
    host.release(tmp_path / "some.safetensors")
    assert dropped == ["all"]
    extension.load_lora_state_dict = len  # Neo keeps nothing
    host.release(tmp_path / "some.safetensors")


def test_a_pinned_choice_is_put_back_unless_the_user_chose_meanwhile(forge: Forge, other):
    users = forge.data.forge_loading_parameters
    with checkpoint.chosen({"checkpoint_info": None}):
        assert forge.data.forge_loading_parameters is not users
    assert forge.data.forge_loading_parameters is users
    with checkpoint.chosen({"checkpoint_info": None}):
        forge.choose(other)
    assert forge.data.forge_loading_parameters["checkpoint_info"].title == "other.safetensors"


@pytest.mark.parametrize(
    ("extra", "said"),
    [({"ldm_patched": {}}, "reForge"), ({"modules.modeldata": {}}, "SD.Next"), ({}, "forge_model_reload")],
)
def test_relatives_are_told_what_is_missing(forge: Forge, monkeypatch, extra, said):
    modules = forge.modules()
    modules["modules.sd_models"].pop("forge_model_reload")
    modules["modules.call_queue"] = {"queue_lock": threading.Lock()}
    install(monkeypatch, {**modules, **extra})
    status = detect.host().status()
    assert said in status.problem and "Forge" in status.remedy
