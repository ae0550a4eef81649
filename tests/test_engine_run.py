"""Whole runs on a tiny checkpoint: events, files, wishes, and a loan that is left as it was."""

from __future__ import annotations

import json

import pytest
import torch
from engine_stage import folder_in, last_file, lent, of, pictures, play, recipe, traces
from safetensors.torch import load_file

from lib_lora_train.engine import run as run_module
from lib_lora_train.engine import state
from lib_lora_train.events import (
    Control,
    Finished,
    Phase,
    Progress,
    Sampled,
    Snapshot,
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
