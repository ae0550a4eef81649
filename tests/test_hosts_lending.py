"""A loan while its host moves, replaces and takes back the tensors: played with real ones in a host's layout."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lib_lora_train.errors import CheckpointSwitched
from lib_lora_train.families.borrow import Source
from lib_lora_train.families.loan import Identity, Loan
from lib_lora_train.families.tokenizer import ClipTokenizer
from lib_lora_train.hosts.checkpoint_file import mapped, under
from lib_lora_train.hosts.lock import LockHold, is_locked
from lib_lora_train.hosts.webui.lending import Lending
from lib_lora_train.objectives.schedule import scaled_linear

PARTS = {"unet": "model.diffusion_model.", "text": "cond_stage_model.transformer.", "vae": "first_stage_model."}


class Played:
    """A `Kind` whose model is a dictionary of tensors; `copies` as when they lie on another device."""

    moves_weights = False

    def __init__(self, checkpoint, copies: bool):
        tensors = mapped(checkpoint)
        self.tensors = {
            name: {k: t.clone() for k, t in under(tensors, prefix).items()} for name, prefix in PARTS.items()
        }
        self.title, self.vae, self.copies = "first", "", copies

    def ready(self):
        return self.title

    def again(self, model: str) -> str:
        return self.title

    def identity_of(self, model: str) -> Identity:
        return Identity(self.title, vae=self.vae)

    def next_identity(self) -> Identity:
        return self.identity_of(self.title)

    def source(self, model: str) -> tuple[Source, bool]:
        own = {
            name: {k: t.clone() if self.copies else t for k, t in part.items()} for name, part in self.tensors.items()
        }
        return Source(own["unet"], [own["text"]], own["vae"], heads=2), self.copies

    def loan(self, model: str, borrowed) -> Loan:
        return Loan(
            borrowed.family, borrowed.unet, borrowed.text_encoders, [ClipTokenizer()], borrowed.vae,
            scaled_linear(), "epsilon", False, 0.18215, 1, self.identity_of(model), torch.device("cpu"),
        )  # fmt: skip

    def move(self) -> None:
        self.tensors = {name: {k: t.clone() for k, t in part.items()} for name, part in self.tensors.items()}

    def bytes(self) -> list[bytes]:
        return [t.numpy().tobytes() for part in self.tensors.values() for t in part.values()]


@pytest.fixture(params=[False, True], ids=["in place", "copied"])
def kind(request, tiny_checkpoint, monkeypatch) -> Played:
    devices = SimpleNamespace(torch_gc=lambda: None)
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(devices=devices))
    monkeypatch.setitem(sys.modules, "modules.devices", devices)
    return Played(tiny_checkpoint, request.param)


@pytest.fixture
def lending(kind: Played):
    lock = threading.Lock()
    before = kind.bytes()
    with LockHold(lock) as hold:
        lending = Lending(hold, kind)
        lending.begin()
        yield lending
        lending.end()
        assert all(parameter.is_meta for parameter in lending.loan.unet.parameters())
    assert not is_locked(lock)
    if kind.title == "first":
        assert kind.bytes() == before


def output(loan: Loan) -> torch.Tensor:
    with torch.no_grad():
        conditioning = loan.family.encode_text(loan, ["a house"], 75, 1)
        return loan.family.predict(loan, torch.ones((1, 4, 8, 8)), torch.tensor([9]), conditioning, None)


def held(loan: Loan) -> bool:
    """Does any of its modules have data?"""
    modules = (loan.unet, *loan.text_encoders, loan.vae)
    return any(not parameter.is_meta for module in modules for parameter in module.parameters())


def away(lending: Lending) -> None:
    lending.step_out()
    lending.step_in()


def test_copies_are_given_back_while_away_and_views_are_kept(lending: Lending, kind: Played):
    loan, before = lending.loan, output(lending.loan)
    modules = [loan.unet, *loan.text_encoders, loan.vae]
    lending.step_out()
    assert held(loan) is not kind.copies
    assert not lending.hold.held
    lending.step_in()
    assert lending.hold.held
    assert [loan.unet, *loan.text_encoders, loan.vae] == modules
    assert loan.generation == (1 if kind.copies else 0)
    assert torch.equal(output(loan), before)


def test_the_host_at_work_keeps_the_lock_but_gets_its_memory(lending: Lending, kind: Played):
    before = output(lending.loan)
    with lending.host_at_work():
        assert lending.hold.held
        assert held(lending.loan) is not kind.copies
    assert torch.equal(output(lending.loan), before)


def test_moved_tensors_are_followed(lending: Lending, kind: Played):
    before = output(lending.loan)
    kind.move()
    away(lending)
    assert lending.loan.generation == 1
    assert torch.equal(output(lending.loan), before)


def test_what_is_trained_outlives_letting_go(lending: Lending):
    """Only borrowed tensors are let go, whatever else hangs on the modules."""
    layer = lending.loan.unet.conv_in
    layer.register_parameter("trained", nn.Parameter(torch.ones(3)))
    lending.end()
    assert not held(SimpleNamespace(unet=lending.loan.vae, text_encoders=[], vae=lending.loan.vae))
    assert torch.equal(layer.trained, torch.ones(3))
    layer.register_parameter("trained", None)


@pytest.mark.parametrize(("name", "value"), [("title", "second"), ("vae", "bright")])
def test_a_switch_frees_lock_and_memory_until_it_is_taken_back(lending: Lending, kind: Played, name: str, value: str):
    loan, before = lending.loan, output(lending.loan)
    first = getattr(kind, name)
    setattr(kind, name, value)
    for _ in range(2):  # one may look again and again
        with pytest.raises(CheckpointSwitched) as switched:
            away(lending)
        assert value in str(switched.value) or "VAE" in str(switched.value)
        assert not lending.hold.held and not held(loan)
    setattr(kind, name, first)
    away(lending)
    assert lending.hold.held
    assert torch.equal(output(loan), before)


def test_other_shapes_under_the_same_name_are_a_switch_too(lending: Lending, kind: Played):
    before = output(lending.loan)
    right = kind.tensors["unet"]["out.2.weight"]
    kind.tensors["unet"] = {**kind.tensors["unet"], "out.2.weight": right.new_zeros((4, 1, 3, 3))}
    with pytest.raises(CheckpointSwitched):
        away(lending)
    assert not lending.hold.held
    kind.tensors["unet"]["out.2.weight"] = right
    away(lending)
    assert torch.equal(output(lending.loan), before)
