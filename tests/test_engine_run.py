"""Whole runs on a tiny checkpoint: events, files, wishes, and a loan that is left as it was whatever happens."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
import torch
from engine_stage import folder_in, last_file, lent, of, pictures, play, recipe, traces
from PIL import Image
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
    Resumed,
    Sampled,
    Snapshot,
    Warned,
    decode,
    encode,
)
from lib_lora_train.export import lora_file


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


def test_a_run_tells_its_story_and_leaves_its_files(loan, data, root):
    folder = folder_in(root)
    settings = recipe(
        data,
        max_train_epochs=2,
        save_every_n_epochs=1,
        save_every_n_steps=3,
        sample_every_n_steps=5,
        sample_prompts="a pib\n\nanother",
        sample_at_first=True,
    )
    events = play(loan, settings, folder)
    phases = list(dict.fromkeys(e.name for e in of(events, Phase)))
    assert phases[0] == "scan" and phases.index("latents") < phases.index("train")
    progress = of(events, Progress)
    assert [p.step for p in progress] == list(range(1, 11))
    assert {(p.total_steps, p.epochs) for p in progress} == {(10, 2)}
    assert [p.epoch for p in progress] == [1] * 5 + [2] * 5
    assert all(p.it_per_s > 0 and set(p.lr) == {"unet", "text_encoder"} for p in progress)
    assert progress[-1].eta_s == 0
    names = ["tiny-step00000003", "tiny-000001", "tiny-step00000006", "tiny-step00000009", "tiny"]
    assert [s.path for s in of(events, Snapshot)] == [f"snapshots/{name}.safetensors" for name in names]
    rows = [(step, index, 1 + index) for step in (0, 5, 10) for index in (0, 1)]
    assert [(s.step, s.index, s.seed) for s in of(events, Sampled)] == rows
    assert all((folder.root / e.path).is_file() for e in events if isinstance(e, (Snapshot, Sampled)))
    end = events[-1]
    assert isinstance(end, Finished) and (end.reason, end.step) == ("done", 10)
    assert end.path == events[-2].path and 0 < end.seconds_to_first_step <= end.seconds
    assert not state.exists(folder.state)
    assert [decode(encode(e)) for e in events] == events


def test_the_file_holds_what_was_trained_and_how(loan, data, root):
    folder = folder_in(root)
    events = play(loan, recipe(data, max_train_steps=7, save_precision="float"), folder)
    path = last_file(events, folder)
    tensors, metadata = load_file(path), lora_file.read_metadata(path)
    ups = [t for name, t in tensors.items() if name.endswith("lora_up.weight")]
    assert ups and all(t.dtype == torch.float32 and t.abs().sum() > 0 for t in ups)
    assert (metadata["ss_steps"], metadata["ss_num_epochs"], metadata["ss_epoch"]) == ("7", "2", "2")
    assert metadata["ss_num_train_images"] == "5" and metadata["ss_optimizer"] == "torch.optim.adamw.AdamW"
    buckets = json.loads(metadata["ss_bucket_info"])["buckets"]
    assert [(b["resolution"], b["count"]) for b in buckets.values()] == [([32, 128], 2), ([64, 64], 3)]
    assert str(root) not in json.dumps(metadata)


def test_the_same_plan_gives_the_same_file(loan, data, root):
    files = {}
    for name, seed in (("one", 42), ("two", 42), ("other", 43)):
        folder = folder_in(root)
        files[name] = load_file(last_file(play(loan, recipe(data, seed=seed), folder), folder))
    assert all(torch.equal(files["one"][k], files["two"][k]) for k in files["one"])
    assert not all(torch.equal(files["one"][k], files["other"][k]) for k in files["one"])


def test_batches_and_accumulated_batches_train_the_same(loan, root, tmp_path):
    """A batch of three pictures is three batches of one, accumulated."""
    three, files = pictures(tmp_path, [(64, 64)] * 3), []
    for changes in ({"train_batch_size": 3}, {"train_batch_size": 1, "gradient_accumulation_steps": 3}):
        folder = folder_in(root)
        events = play(loan, recipe(three, max_train_epochs=3, save_precision="float", **changes), folder)
        assert [p.step for p in of(events, Progress)] == [1, 2, 3]
        files.append(load_file(last_file(events, folder)))
    assert any(t.abs().max() > 1e-3 for name, t in files[0].items() if "lora_up" in name)
    for name in files[0]:
        torch.testing.assert_close(files[0][name], files[1][name], rtol=1e-2, atol=1e-4)


def test_the_incomplete_last_group_of_an_epoch_is_a_step(loan, data, root):
    events = play(loan, recipe(data, max_train_epochs=2, gradient_accumulation_steps=2), folder_in(root))
    assert [(p.step, p.epoch) for p in of(events, Progress)] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]


@pytest.mark.parametrize(
    "changes",
    [
        {"train_text_encoder": False},
        {"train_unet": False},
        {"train_text_encoder": False, "shuffle_caption": True, "caption_tag_dropout_rate": 0.3},
        {"network_type": "LoCon", "conv_dim": 2},
        {"gradient_checkpointing": True},
        {"v_parameterization": "yes", "zero_terminal_snr": "yes"},
        {"optimizer_type": "Prodigy", "learning_rate": 1.0, "text_encoder_lr": 0},
        {"mixed_precision": "bf16", "noise_offset": 0.1, "flip_aug": True},
        {"cache_latents_to_disk": False, "clip_skip": 2, "max_token_length": 150},
    ],
    ids=lambda c: "-".join(f"{k}={v}" for k, v in c.items())[:60],
)
def test_every_kind_of_run_reaches_its_end(loan, data, root, changes):
    folder = folder_in(root)
    events = play(loan, recipe(data, max_train_steps=3, **changes), folder)
    assert isinstance(events[-1], Finished) and events[-1].reason == "done"
    tensors = load_file(last_file(events, folder))
    trained = {name.split("_")[1] for name, t in tensors.items() if "lora_up" in name and t.abs().sum() > 0}
    wanted = {"unet": changes.get("train_unet", True), "te": changes.get("train_text_encoder", True)}
    assert trained == {part for part, on in wanted.items() if on}


def test_the_text_encoder_is_not_asked_again_when_it_is_not_trained(loan, data, root, monkeypatch):
    settings = recipe(data, train_text_encoder=False, max_train_steps=8)
    play(loan, settings, folder_in(root))
    family, asked = type(loan.family), []
    original = family.encode_text
    monkeypatch.setattr(family, "encode_text", lambda *a, **k: asked.append(1) or original(*a, **k))
    play(loan, settings, folder_in(root))
    assert not asked  # texts are in the cache of the run before


class _Wishes(Control):
    """Asks for something once a number of steps is done."""

    def after(self, step, wish):
        self._at, self._wish = step, wish
        return self

    def play(self, loan, settings, folder, **more):
        events = []
        for event in run_module.run(loan, settings, self, folder, **more):
            events.append(event)
            if isinstance(event, Progress) and event.step == self._at:
                self._wish(self)
            if isinstance(event, Paused):
                self.resume()
        return events


def test_stop_keeps_what_was_trained(loan, data, root):
    folder = folder_in(root)
    events = _Wishes().after(2, Control.stop).play(loan, recipe(data), folder)
    assert [p.step for p in of(events, Progress)] == [1, 2]
    assert (events[-1].reason, events[-1].step) == ("stopped", 2) and of(events, Snapshot)[-1].final
    assert last_file(events, folder).is_file() and state.exists(folder.state)


def test_stop_before_training_ends_without_a_file(loan, data, root):
    folder, control = folder_in(root), Control()
    events = []
    for event in run_module.run(loan, recipe(data, cache_latents_to_disk=False), control, folder):
        events.append(event)
        control.stop() if isinstance(event, Phase) and event.name == "latents" else None
    assert isinstance(events[-1], Finished) and (events[-1].reason, events[-1].path) == ("stopped", "")
    assert not of(events, Progress) and not list(folder.snapshots.iterdir())


def test_pause_saves_the_state_and_changes_nothing(loan, data, root):
    folder, straight = folder_in(root), folder_in(root)
    events = _Wishes().after(2, Control.pause).play(loan, recipe(data), folder)
    at = [type(e) for e in events].index(Paused)
    assert isinstance(events[at + 1], Resumed) and isinstance(events[at - 1], Progress)
    paused = load_file(last_file(events, folder))
    whole = load_file(last_file(play(loan, recipe(data), straight), straight))
    assert all(torch.equal(paused[k], whole[k]) for k in whole)


def test_pause_during_preparation(loan, data, root):
    control, events = Control(), []
    for event in run_module.run(loan, recipe(data, cache_latents_to_disk=False), control, folder_in(root)):
        events.append(event)
        if isinstance(event, Phase) and event.text == "Encoding pictures" and not of(events, Paused):
            control.pause()
        if isinstance(event, Paused):
            control.resume()
    assert [type(e) for e in events].count(Paused) == 1 and isinstance(events[-1], Finished)


def test_save_and_sample_on_demand(loan, data, root):
    def wish(control):
        control.save_now()
        control.sample_now()

    folder = folder_in(root)
    events = _Wishes().after(2, wish).play(loan, recipe(data), folder)
    assert [s.path for s in of(events, Snapshot)][0] == "snapshots/tiny-step00000002.safetensors"
    assert [(s.step, s.prompt) for s in of(events, Sampled)] == [(2, "pib")]


@pytest.mark.parametrize("rate, changed", [(0.05, True), (1e-12, False)])
def test_samples_use_the_adapter_and_the_same_seed(loan, data, root, rate, changed):
    folder = folder_in(root)
    often = {"max_train_steps": 4, "sample_every_n_steps": 4, "sample_at_first": True}
    events = play(loan, recipe(data, learning_rate=rate, text_encoder_lr=rate, **often), folder)
    first, last = (np.asarray(Image.open(folder.root / s.path)).astype(int) for s in of(events, Sampled))
    assert (abs(first - last).max() > 1) == changed


# Trouble


class _Burst(Exception):
    pass


def _raise(*_, **__):
    raise _Burst


FAULTS = {
    "scan": (prepare, "scan"),
    "adapters": (run_module, "tools"),
    "latents": (prepare, "prepare"),
    "texts": (prepare.TextCache, "fill"),
    "attach": ("lib_lora_train.adapters.adapter_set.AdapterSet", "parameters"),
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


def test_a_run_continues_from_a_finished_lora(loan, data, root):
    first = folder_in(root)
    path = last_file(play(loan, recipe(data, save_precision="float"), first), first)
    second = folder_in(root)
    events = play(loan, recipe(data, network_weights=str(path), max_train_steps=1, save_precision="float"), second)
    before, after = load_file(path), load_file(last_file(events, second))
    distance = {k: (after[k] - before[k]).abs().max().item() for k in before if "lora_up" in k}
    assert 0 < max(distance.values()) < 5e-3  # one step of 1e-3 away, not started anew


def _exchange(loan, tensors):
    """Puts `tensors`, copies when None, in the place of the loan's parameters; returns those."""
    before = {}
    for module in (loan.unet, *loan.text_encoders):
        for name, parameter in list(module.named_parameters()):
            before[module, name] = parameter
            new = tensors[module, name] if tensors else torch.nn.Parameter(parameter.clone(), requires_grad=False)
            owner, _, leaf = name.rpartition(".")
            module.get_submodule(owner)._parameters[leaf] = new
    loan.generation += 1
    return before


def test_moved_tensors_are_followed(loan, data, root):
    """The host may move its tensors between two events; what they were before may then hold anything. (Bits may differ
    a little: mapped memory is aligned in another way than copies.)"""
    straight, moved = folder_in(root), folder_in(root)
    whole = load_file(last_file(play(loan, recipe(data), straight), straight))
    originals, events = None, []
    for event in run_module.run(loan, recipe(data), Control(), moved):
        events.append(event)
        if isinstance(event, Progress) and event.step == 2:
            originals = _exchange(loan, None)
        if isinstance(event, Progress) and event.step == 4:
            for copy in _exchange(loan, originals).values():
                copy.fill_(float("nan"))
    assert events[-3].name == "save" and of(events, Progress)[-1].skipped == 0
    after = load_file(last_file(events, moved))
    for name in whole:
        torch.testing.assert_close(after[name], whole[name], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kind", ["fp16", "v_prediction", "ztsnr"])
def test_other_checkpoints(data, root, tmp_path, kind):
    from demo import tiny

    made = {
        "fp16": {"dtype": torch.float16},
        "v_prediction": {"v_prediction": True},
        "ztsnr": {"v_prediction": True, "zero_terminal_snr": True},
    }
    checkpoint = tiny.make(tmp_path, **made[kind])
    with lent(checkpoint, root) as other:
        before, folder = traces(other), folder_in(root)
        events = play(other, recipe(data, sample_every_n_steps=6), folder)
        assert traces(other) == before
    assert isinstance(events[-1], Finished) and len(of(events, Sampled)) == 1
    metadata = lora_file.read_metadata(last_file(events, folder))
    velocity = kind != "fp16"
    assert metadata["ss_base_model_version"] == ("sd_v1_v" if velocity else "sd_v1")
    assert metadata["ss_zero_terminal_snr"] == str(kind == "ztsnr")
