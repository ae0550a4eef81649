"""The same plan gives the same file bit for bit, whatever interrupts it and wherever its latents come from; with
everything in use that draws random numbers."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch
from engine_stage import folder_in, in_a_process, last_file, lent, play, recipe
from options_stage import CAPTIONS, Stage
from safetensors.torch import load_file

from lib_lora_train.data import loader
from lib_lora_train.engine import prepare
from lib_lora_train.engine.run import run
from lib_lora_train.events import Control, Paused, Progress
from lib_lora_train.export.folder import RunFolder
from lib_lora_train.objectives.objective import objective_of

EVERYTHING = {
    "network_type": "LoCon", "conv_dim": 2, "network_dropout": 0.2, "rank_dropout": 0.1, "module_dropout": 0.1,
    "shuffle_caption": True, "keep_tokens": 1, "caption_dropout_rate": 0.2, "caption_tag_dropout_rate": 0.2,
    "enable_wildcard": True, "token_warmup_step": 8, "flip_aug": True, "noise_offset": 0.1, "ip_noise_gamma": 0.1,
    "noise_offset_random_strength": True, "multires_noise_iterations": 3, "train_batch_size": 2,
    "gradient_accumulation_steps": 2, "lr_scheduler": "cosine", "lr_warmup_steps": 2, "max_train_steps": 10,
    "save_precision": "float", "save_state_every_n_steps": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("reproducible")


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, root):
    with lent(tiny_checkpoint, root) as loan:
        yield loan


@pytest.fixture(scope="module")
def stage(loan, root, tiny_checkpoint):
    return Stage(root, loan, tiny_checkpoint)


@pytest.fixture(scope="module")
def changes(stage):
    return {**EVERYTHING, "reg_data_dir": str(stage.reg)}


def content(path: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


@pytest.fixture(scope="module")
def straight(loan, stage, changes, root):
    """The file of an undisturbed run, whose latents were made in it."""
    folder = folder_in(root)
    found = content(last_file(play(loan, recipe(stage.data, **changes), folder), folder))
    assert any(any(value) for name, value in found.items() if "lora_up" in name)
    return found


def test_from_the_cache(loan, stage, changes, root, straight):
    folder = folder_in(root)
    assert any(folder.cache.rglob("*.cache"))  # of the straight run
    assert content(last_file(play(loan, recipe(stage.data, **changes), folder), folder)) == straight


def test_without_a_cache_on_disk(loan, stage, changes, root, straight):
    folder = RunFolder(root / "alone", root / "alone-cache").make()
    settings = recipe(stage.data, **changes, cache_latents_to_disk=False)
    assert content(last_file(play(loan, settings, folder), folder)) == straight


def test_paused_again_and_again(loan, stage, changes, root, straight):
    control, folder = Control(), folder_in(root)
    for event in run(loan, recipe(stage.data, **changes), control, folder):
        if isinstance(event, Progress):
            control.pause()
        if isinstance(event, Paused):
            control.resume()
    assert content(folder.snapshots / "tiny.safetensors") == straight


@pytest.mark.slow
def test_killed_and_resumed_in_new_processes_without_the_latents(tiny_checkpoint, stage, changes, root, straight):
    """The cache is emptied while the run is dead."""
    own = root / "killed"
    folder = RunFolder(own / "run", own / "cache").make()
    child = in_a_process(tiny_checkpoint, own, folder, stage.data, changes, kill_at=7)
    assert child.returncode == -signal.SIGKILL, child.stderr
    shutil.rmtree(own / "cache")
    child = in_a_process(tiny_checkpoint, own, folder, stage.data, changes, resume=True)
    assert child.returncode == 0, child.stderr
    assert content(folder.snapshots / "tiny.safetensors") == straight


def drawn(loan, stage, changes, batch_size):
    """What every sample of the first epoch is trained with, by its key."""
    settings = recipe(stage.data, **{**changes, "train_batch_size": batch_size, "token_warmup_step": 0})
    folder = folder_in(stage.root)
    planned = _result(prepare.plan(settings))
    planned, cache = _result(prepare.latents(loan, settings, folder, planned))
    objective, found = objective_of(loan, settings.loss), {}
    for batch in loader.Loader(planned, settings, cache, loan).batches(0):
        draws = objective.draw(settings.training.seed, batch.keys, batch.latents.shape[1:])
        for index, key in enumerate(batch.keys):
            found[key] = [batch.latents[index], draws.noise[index], draws.timesteps[index], draws.offsets[index]]
            found[key] += [draws.strengths[index], draws.coarse[index], draws.perturbation[index], batch.sizes[index]]
            found[key].append(batch.captions[index])
    return found


def _result(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def test_a_samples_draws_are_the_same_in_any_batch(loan, stage, changes):
    alone = drawn(loan, stage, changes, 1)
    assert len(alone) > len(CAPTIONS)
    for size in (2, 3, 5):
        together = drawn(loan, stage, changes, size)
        assert together.keys() == alone.keys()
        for key, values in alone.items():
            for one, other in zip(values, together[key], strict=True):
                assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, key
