"""What a run is asked for meanwhile: stop, pause, a snapshot or samples now, other samples from now on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_stage import folder_in, last_file, lent, of, pictures, play, recipe, traces
from PIL import Image
from safetensors.torch import load_file

from lib_lora_train.engine import run as run_module
from lib_lora_train.engine import state
from lib_lora_train.engine.run import run
from lib_lora_train.events import (
    Changed,
    Control,
    Finished,
    Paused,
    Phase,
    Progress,
    Resumed,
    Sampled,
    Snapshot,
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


def test_a_stopped_runs_file_tells_the_epoch_it_came_to(loan, data, root):
    folder, control = folder_in(root), Control()
    for event in run_module.run(loan, recipe(data, max_train_epochs=4), control, folder):
        control.stop() if isinstance(event, Progress) and event.step == 3 else None
    metadata = lora_file.read_metadata(folder.snapshots / "tiny.safetensors")
    assert (metadata["ss_steps"], metadata["ss_epoch"], metadata["ss_num_epochs"]) == ("3", "1", "4")


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


def test_samples_and_intervals_change_while_it_runs_and_the_file_does_not(loan, data, root):
    def played(change):
        folder, control, events = folder_in(root), Control(), []
        for event in run(loan, recipe(data), control, folder):
            events.append(event)
            if isinstance(event, Progress) and event.step == 2:
                control.change(change)
        return events, folder

    plain, plain_folder = played({})
    wish = {"sample_prompts": "pib one\npib two --d 5", "sample_every_n_steps": 2, "save_every_n_steps": 3}
    changed, folder = played(wish)
    assert [event.saving for event in of(changed, Changed)] == [wish] and not of(plain, Changed)
    drawn = [(event.step, event.prompt, event.seed) for event in of(changed, Sampled)]
    assert drawn == [(step, *one) for step in (2, 4, 6) for one in (("pib one", 1), ("pib two", 5))]
    assert [event.step for event in of(changed, Snapshot)] == [3, 6]
    files = [last_file(events, where) for events, where in ((plain, plain_folder), (changed, folder))]
    one, other = (load_file(file) for file in files)
    assert all(torch.equal(one[key], other[key]) for key in one)
    one, other = (lora_file.read_metadata(file)["train_lora_recipe"] for file in files)
    assert one == other, "the file says what it was begun with"
