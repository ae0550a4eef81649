"""A run that was killed goes on bit for bit in a new process, and refuses to go on with something else."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from engine_stage import SMALL, folder_in, in_a_process, last_file, lent, of, pictures, play, recipe
from PIL import Image
from safetensors.torch import load_file

from lib_lora_train.engine import resume, state
from lib_lora_train.engine.run import run
from lib_lora_train.errors import DataError, HostError, SettingsError
from lib_lora_train.events import Control, Finished, Paused, Progress, Warned
from lib_lora_train.export.folder import RunFolder
from lib_lora_train.settings import load

STEPS, KILLED_AT, STATE_EVERY = 12, 7, 5  # five batches per epoch, so the state lies at an epoch's end, the kill inside
KINDS = {
    "AdamW": {},
    "AdamW8bit": {"optimizer_type": "AdamW8bit"},
    "Prodigy": {"optimizer_type": "Prodigy", "learning_rate": 1.0, "text_encoder_lr": 0.0, "lr_scheduler": "constant"},
    "accumulated": {"gradient_accumulation_steps": 2, "train_batch_size": 2, "save_state_every_n_steps": 3},
    "mid-epoch": {"save_state_every_n_steps": 3, "flip_aug": True, "caption_dropout_rate": 0.5, "noise_offset": 0.1},
    "never twice alike": {
        "color_aug": True,
        "random_crop": True,
        "crop_aug": 0.3,
        "flip_aug": True,
        "shuffle_caption": True,
        "token_warmup_step": 8.0,
        "timestep_sampling": "logit_normal",
        "train_batch_size": 2,
    },
    "texts cached": {"train_text_encoder": False, "save_state_every_n_steps": 4},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def data(root):
    return pictures(root)


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, root):
    with lent(tiny_checkpoint, root) as loan:
        yield loan


def changed(kind):
    return {"max_train_steps": STEPS, "save_precision": "float", "save_state_every_n_steps": STATE_EVERY} | KINDS[kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_is_byte_for_byte_the_straight_run(loan, tiny_checkpoint, data, root, kind):
    changes, straight, killed = changed(kind), folder_in(root), folder_in(root)
    whole = last_file(play(loan, recipe(data, **changes), straight), straight)
    child = in_a_process(tiny_checkpoint, root, killed, data, changes, kill_at=KILLED_AT)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert state.load(killed.state).values["step"] < KILLED_AT
    child = in_a_process(tiny_checkpoint, root, killed, data, changes, resume=True)
    assert child.returncode == 0, child.stderr
    resumed = killed.snapshots / "tiny.safetensors"
    a, b = load_file(whole), load_file(resumed)
    assert list(a) == list(b) and all(a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a)
    assert any(t.abs().sum() > 0 for name, t in a.items() if "lora_up" in name)


def stopped(loan, settings, folder, at, resume=False):
    control, events = Control(), []
    for event in run(loan, settings, control, folder, resume=resume):
        events.append(event)
        if isinstance(event, Progress) and event.step == at:
            control.stop()
    return events


def test_stopped_and_continued_twice_with_damage_between(loan, data, root):
    settings = recipe(data, **changed("mid-epoch"))
    straight, folder = folder_in(root), folder_in(root)
    progress = of(play(loan, settings, straight), Progress)
    first = stopped(loan, settings, folder, 4)
    second = stopped(loan, settings, folder, 8, resume=True)
    newest = sorted(folder.state.iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    third = play(loan, settings, folder, resume=True)
    assert newest.name in of(third, Warned)[0].text
    assert of(third, Progress)[0].step < 8 + 1 and isinstance(third[-1], Finished)
    seen = {p.step: (p.loss, p.loss_smooth, p.lr, p.epoch) for p in of(first + second + third, Progress)}
    assert seen == {p.step: (p.loss, p.loss_smooth, p.lr, p.epoch) for p in progress}
    a, b = load_file(straight.snapshots / "tiny.safetensors"), load_file(folder.snapshots / "tiny.safetensors")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_that_ended_in_a_pause_goes_on(loan, data, root):
    changes, folder, straight = changed("AdamW"), folder_in(root), folder_in(root)
    control = Control()
    events = run(loan, recipe(data, **changes), control, folder)
    for event in events:
        if isinstance(event, Progress) and event.step == 3:
            control.pause()
        if isinstance(event, Paused):
            break
    assert state.load(folder.state).values["step"] == 3
    events.close()
    resumed = last_file(play(loan, recipe(data, **changes), folder, resume=True), folder)
    whole = last_file(play(loan, recipe(data, **changes), straight), straight)
    assert all(torch.equal(load_file(resumed)[k], t) for k, t in load_file(whole).items())


@pytest.fixture
def begun(loan, root, tmp_path):
    """A run of its own pictures, stopped after two steps; (settings, folder, data)."""
    data = pictures(tmp_path)
    settings, folder = recipe(data), RunFolder(tmp_path / "run", root / "cache").make()
    stopped(loan, settings, folder, 2)
    return settings, folder, data


def test_a_changed_recipe_is_named(loan, begun):
    _, folder, data = begun
    with pytest.raises(SettingsError, match=r"network_dim \(was 2, is 4\)") as caught:
        play(loan, recipe(data, network_dim=4), folder, resume=True)
    assert caught.value.field == "network_dim"


@pytest.mark.parametrize(
    "changes", [{"save_every_n_steps": 3}, {"sample_prompts": "x"}, {"training_comment": "y"}, {"vae_batch_size": 2}]
)
def test_what_does_not_change_the_training_may_change(loan, begun, changes):
    _, folder, data = begun
    assert play(loan, recipe(data, **changes), folder, resume=True)[-1].reason == "done"


def _edit(data):
    (data / "1_pib" / "0.txt").write_text("pib, other")


def _remove(data):
    (data / "1_pib" / "1.png").unlink()


def _add(data):
    Image.new("RGB", (64, 64), "red").save(data / "1_pib" / "9.png")


def _paint(data):
    Image.new("RGB", (64, 64), "red").save(data / "1_pib" / "3.png")


@pytest.mark.parametrize(
    "change, said", [(_edit, "changed: 1_pib/0.png"), (_remove, "gone: 1_pib/1.png"), (_add, "new: 1_pib/9.png"),
                     (_paint, "changed: 1_pib/3.png")]
)  # fmt: skip
def test_changed_pictures_are_named(loan, begun, change, said):
    settings, folder, data = begun
    change(data)
    with pytest.raises(DataError, match=said):
        play(loan, settings, folder, resume=True)


def test_another_checkpoint_is_refused(loan, begun):
    settings, folder, _ = begun
    original = loan.identity
    try:
        loan.identity = replace(original, path="/other.safetensors", title="other.safetensors")
        with pytest.raises(HostError, match=f"begun on {original.title}; now other"):
            play(loan, settings, folder, resume=True)
    finally:
        loan.identity = original
    assert play(loan, settings, folder, resume=True)[-1].reason == "done"


def test_pictures_may_move_to_another_folder(loan, begun, tmp_path):
    """The same content elsewhere is the same data set, but the recipe then names another folder: said as such."""
    _, folder, data = begun
    data.rename(tmp_path / "moved")
    with pytest.raises(SettingsError, match="train_data_dir"):
        play(loan, recipe(tmp_path / "moved"), folder, resume=True)


def test_a_run_without_state_cannot_be_resumed(loan, data, root):
    with pytest.raises(DataError, match="state is missing"):
        play(loan, recipe(data), folder_in(root), resume=True)


def test_a_finished_run_is_only_written_again(loan, begun):
    """Killed between the last step and the end: the state of the last step is there."""
    settings, folder, _ = begun
    events = run(loan, settings, Control(), folder, resume=True)
    for event in events:
        if isinstance(event, Progress) and event.step == SMALL["max_train_steps"]:
            break
    events.close()
    again = play(loan, settings, folder, resume=True)
    assert not of(again, Progress) and again[-1].reason == "done" and last_file(again, folder).is_file()


def test_a_run_of_an_older_version_goes_on_unless_a_newer_option_is_used():
    """An option that did not exist yet had its default's effect."""
    settings = load.from_mapping({"network_dim": 5})
    before = {name: value for name, value in resume.fixed(settings).items() if name != "min_snr_gamma"}
    resume.refuse_recipe(before, resume.fixed(settings))
    with pytest.raises(SettingsError, match="min_snr_gamma"):
        resume.refuse_recipe(before, resume.fixed(load.from_mapping({"network_dim": 5, "min_snr_gamma": 1})))
