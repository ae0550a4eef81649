"""Runs that meet trouble: an error in any phase, no memory, no disk, no numbers; nothing is lost and no trace left."""

from __future__ import annotations

import errno

import pytest
import torch
from engine_stage import folder_in, last_file, lent, of, pictures, play, recipe, traces
from safetensors.torch import load_file

from lib_lora_train.engine import keeping, prepare, state
from lib_lora_train.engine import run as run_module
from lib_lora_train.errors import DataError, ExportError, NotFinite, OutOfMemory, SettingsError
from lib_lora_train.events import (
    Control,
    Finished,
    Paused,
    Phase,
    Progress,
    Warned,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(root):
    return pictures(root)


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, root):
    with lent(tiny_checkpoint, root) as loan:
        yield loan


@pytest.fixture(autouse=True)
def untouched(loan):
    """After every test, whatever it did to its run: weights, flags, hooks and global randomness are as before."""
    before, randomness = traces(loan), torch.random.get_rng_state()
    yield
    assert traces(loan) == before
    assert torch.equal(torch.random.get_rng_state(), randomness)


class _Burst(Exception):
    pass


def _raise(*_, **__):
    raise _Burst


FAULTS = {
    "scan": (prepare, "scan"),
    "adapters": (run_module, "tools"),
    "latents": (prepare, "prepare"),
    "texts": (prepare.TextCache, "fill"),
    "attach": ("lib_lora_train.engine.bake", "enable_checkpointing"),
    "batches": ("lib_lora_train.data.loader.Loader", "batches"),
    "predict": ("lib_lora_train.families.sd1.SD1", "predict"),
    "loss": ("lib_lora_train.objectives.objective.Objective", "losses"),
    "update": (torch.optim.AdamW, "step"),
    "sample": (keeping, "draw"),
    "snapshot": (keeping.lora_file, "save"),
    "state": (state, "save"),
}


@pytest.mark.parametrize("phase", FAULTS)
def test_an_error_in_any_phase_leaves_no_trace(loan, data, root, monkeypatch, phase):
    owner, name = FAULTS[phase]
    target = f"{owner}.{name}" if isinstance(owner, str) else owner
    settings = recipe(
        data,
        train_text_encoder=phase != "texts",
        sample_every_n_steps=2,
        save_every_n_steps=2,
        cache_latents_to_disk=False,
    )
    monkeypatch.setattr(target, *([_raise] if isinstance(owner, str) else [name, _raise]))
    with pytest.raises(_Burst):
        play(loan, settings, folder_in(root))


def test_closing_the_generator_keeps_the_state_and_leaves_no_trace(loan, data, root):
    folder = folder_in(root)
    events = run_module.run(loan, recipe(data), Control(), folder)
    for event in events:
        if isinstance(event, Progress) and event.step == 3:
            break
    events.close()
    assert state.load(folder.state).values["step"] == 3


def test_an_error_while_training_keeps_the_state_of_the_last_whole_step(loan, data, root, monkeypatch):
    folder, calls = folder_in(root), []
    family = type(loan.family)
    original = family.predict
    monkeypatch.setattr(family, "predict", lambda *a, **k: calls.append(1) or _nth(calls, 4) or original(*a, **k))
    with pytest.raises(_Burst):
        play(loan, recipe(data), folder)
    assert state.load(folder.state).values["step"] == 3


def _nth(calls, number):
    if len(calls) == number:
        raise _Burst


def test_non_finite_losses_end_the_run_and_keep_the_snapshots(loan, data, root):
    folder = folder_in(root)
    settings = recipe(data, learning_rate=1e15, text_encoder_lr=1e15, max_train_steps=30, save_every_n_steps=1)
    with pytest.raises(NotFinite) as caught:
        play(loan, settings, folder)
    assert "learning rate" in caught.value.remedy
    assert (folder.snapshots / "tiny-step00000001.safetensors").is_file()
    assert not list(folder.root.rglob("*.tmp"))


def test_a_single_bad_sample_is_skipped_and_counted(loan, data, root, monkeypatch):
    family, calls = type(loan.family), []
    original = family.predict

    def poisoned(*args, **more):
        calls.append(1)
        return original(*args, **more) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(family, "predict", poisoned)
    progress = of(play(loan, recipe(data, max_train_steps=4), folder_in(root)), Progress)
    assert [p.skipped for p in progress] == [0, 1, 1, 1]
    assert all(p.loss == p.loss for p in progress)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_out_of_memory_says_what_to_lower(loan, data, root, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(type(loan.family), "predict", fail)
    with pytest.raises(OutOfMemory) as caught:
        play(loan, recipe(data, train_batch_size=2), folder_in(root))
    assert caught.value.lower == {"train_batch_size": 1, "gradient_accumulation_steps": 2}
    assert "train_batch_size = 1" in caught.value.remedy


def test_out_of_memory_for_a_sample_only_costs_the_sample(loan, data, root, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(keeping, "draw", fail)
    events = play(loan, recipe(data, sample_every_n_steps=3), folder_in(root))
    assert [w.text[:19] for w in of(events, Warned)] == ["A sample is missing"] * 2
    assert isinstance(events[-1], Finished)


def _disk_full(monkeypatch, from_call):
    from lib_lora_train.export import folder as folders

    original, calls = folders.os.replace, []

    def replace(source, target):
        if "snapshots" in str(target) or "state" in str(target):
            calls.append(target)
            if len(calls) >= from_call:
                raise OSError(errno.ENOSPC, "No space left on device")
        original(source, target)

    monkeypatch.setattr(folders.os, "replace", replace)


def test_a_full_disk_warns_at_snapshots_and_waits_with_the_last_file(loan, data, root, monkeypatch):
    """Resuming while it is still full waits again; stopping gives up, and the last state is there to go on from."""
    folder, control = folder_in(root), Control()
    _disk_full(monkeypatch, from_call=3)  # the first snapshot and its state still fit
    settings, events, wishes = recipe(data, save_every_n_steps=2), [], [control.resume, control.stop]
    with pytest.raises(ExportError, match="No space left") as caught:
        for event in run_module.run(loan, settings, control, folder):
            events.append(event)
            if isinstance(event, Paused):
                assert control.paused and event.reason == "disk" and "Free some space" in event.text
                wishes.pop(0)()
    assert wishes == [] and "Free some space" in caught.value.remedy
    assert [p.step for p in of(events, Progress)] == list(range(1, 7))
    assert any("snapshot" in w.text for w in of(events, Warned)) and any("state" in w.text for w in of(events, Warned))
    assert sorted(p.name for p in folder.snapshots.iterdir()) == ["tiny-step00000002.safetensors"]
    assert state.load(folder.state).values["step"] == 2


@pytest.mark.parametrize("stop_at", [0, 4])
def test_a_disk_that_has_space_again_takes_the_last_file(loan, data, root, monkeypatch, stop_at):
    """Also when the user had stopped the run: that stop was about the training."""
    folder, control, events = folder_in(root), Control(), []
    with monkeypatch.context() as full:
        _disk_full(full, from_call=1)
        for event in run_module.run(loan, recipe(data, lr_scheduler="constant"), control, folder):
            events.append(event)
            if isinstance(event, Progress) and event.step == stop_at:
                control.stop()
            if isinstance(event, Paused):
                full.undo()
                control.resume()
    assert isinstance(events[-1], Finished) and events[-1].reason == ("stopped" if stop_at else "done")
    other = folder_in(root)
    alone = play(loan, recipe(data, lr_scheduler="constant", max_train_steps=stop_at or 6), other)
    kept, same = load_file(last_file(events, folder)), load_file(last_file(alone, other))
    assert kept.keys() == same.keys() and all(torch.equal(kept[name], same[name]) for name in same)


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"output_name": "a/b"}, "output_name"),
        ({"optimizer_args": "weight=1"}, "optimizer_args"),
        ({"lr_scheduler": "constant", "lr_warmup_steps": 5}, "lr_warmup_steps"),
        ({"train_unet": False, "train_text_encoder": False}, "train_unet"),
        ({"optimizer_type": "Prodigy", "text_encoder_lr": 0.5}, "text_encoder_lr"),
        ({"network_weights": "/nowhere/x.safetensors"}, "network_weights"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_pictures_are_encoded(loan, data, root, changes, field):
    events = []
    with pytest.raises(SettingsError) as caught:
        for event in run_module.run(loan, recipe(data, **changes), Control(), folder_in(root)):
            events.append(event)
    assert caught.value.field == field
    assert not any(e.name == "latents" for e in of(events, Phase))


def test_an_empty_folder_is_named(loan, root, tmp_path):
    (tmp_path / "5_nothing").mkdir()
    with pytest.raises(DataError, match="nothing|picture"):
        play(loan, recipe(tmp_path), folder_in(root))
