"""Matching regularisation pictures: what is drawn, what is skipped, what is deleted, and that a run uses them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from app_stage import StageHost, recipe
from PIL import Image

from lib_lora_train.app import regularisation
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.refusals import Conflict
from lib_lora_train.data.scan import scan
from lib_lora_train.errors import HostError, SettingsError
from lib_lora_train.events import Done, Failed, Paused, Phase, Resumed

SMALL = {"resolution": "128", "min_bucket_reso": 64, "max_bucket_reso": 256, "sample_steps": 2, "seed": 7}


class Painter(StageHost):
    """Draws the request as a plain picture and keeps a list; `script` is called before each picture."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.drawn, self.script = [], lambda number: None

    def txt2img(self, request):
        with self.lock:
            self.script(len(self.drawn))
            self.drawn.append(request)
            return [Image.new("RGB", (request.width, request.height), (request.seed % 256, 9, 99))]


@pytest.fixture
def host(tmp_path):
    return Painter(tmp_path / "host")


@pytest.fixture
def root(tmp_path):
    """Two concepts, one caption twice, names that differ only behind the dot."""
    root = tmp_path / "set"
    for folder, name, size, caption in [
        ("3_cat", "a.png", (128, 128), "cat, sitting (indoors)"),
        ("3_cat", "a.jpg", (128, 128), "cat, sitting (indoors)"),
        ("3_cat", "b.png", (256, 128), "cat, lying"),
        ("1_dog", "a.png", (64, 128), ""),
    ]:
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 120, 40)).save(path)
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return root


def made(host, settings) -> list:
    """Everything drawn and waited for; the job's events."""
    runner = JobRunner(host)
    regularisation.start(settings, runner)
    assert runner.wait(30)
    return runner.job.journal.all()


def test_one_per_picture_as_the_guides_ask(host, root):
    settings = recipe(root, **SMALL)
    events = made(host, settings)
    assert isinstance(events[-1], Done) and "4 of 4" in events[-1].text
    assert [(e.done, e.total) for e in events if isinstance(e, Phase)][1:] == [(n, 4) for n in range(5)]
    drawn = {(r.prompt, r.width, r.height, r.seed) for r in host.drawn}
    assert drawn == {
        ("cat, sitting (indoors)", 128, 128, 7),
        ("cat, sitting (indoors)", 128, 128, 8),  # the same seed would draw the same picture once more
        ("cat, lying", 192, 64, 7),
        ("", 64, 192, 7),
    }
    assert {(r.sampler, r.checkpoint, r.literal, r.steps) for r in host.drawn} == {("DDIM", host.checkpoint, True, 2)}
    names = sorted(path.relative_to(root / "reg").as_posix() for path in (root / "reg").rglob("*.*"))
    assert names == [
        "1_dog/a.png", "1_dog/a.txt", "3_cat/a.jpg.png", "3_cat/a.jpg.txt",
        "3_cat/a.png", "3_cat/a.txt", "3_cat/b.png", "3_cat/b.txt",
    ]  # fmt: skip


def test_a_run_counts_as_many_of_them_as_training_pictures(host, root):
    from lib_lora_train.data.plan import uses

    settings = recipe(root, **SMALL)
    captions = {r.caption for r in scan(settings.data, settings.captions).records}
    made(host, settings)
    records = scan(settings.data, settings.captions).records
    counts = dict(zip(records, uses(records)))
    assert {r.caption for r in records if r.is_reg} == captions
    assert sum(counts[r] for r in records if r.is_reg) == sum(counts[r] for r in records if not r.is_reg) == 10


def test_what_is_there_is_kept_and_what_was_drawn_with_something_else_is_made_anew(host, root):
    settings = recipe(root, **SMALL)
    made(host, settings)
    with pytest.raises(Conflict, match="All 4"):
        regularisation.begin(settings, host)
    (root / "reg" / "3_cat" / "b.png").unlink()
    Image.new("RGB", (8, 8)).save(root / "reg" / "3_cat" / "b.webp")  # the user's own
    (root / "3_cat" / "a.txt").write_text("cat, jumping", encoding="utf-8")
    found = regularisation.look(settings, host)
    assert found.as_dict() == {
        "folder": str(root / "reg"), "wanted": 4, "there": 2, "outdated": 2, "missing": 0,
    }  # fmt: skip
    before = len(host.drawn)
    made(host, settings)
    assert [r.prompt for r in host.drawn[before:]] == ["cat, jumping"] * 2
    assert (root / "reg" / "3_cat" / "a.txt").read_text() == "cat, jumping"
    host.checkpoint = "other.safetensors"
    assert regularisation.look(settings, host).as_dict()["outdated"] == 3
    host.checkpoint = "base.safetensors [0123abcd]"  # the host found the time to hash it
    assert regularisation.look(settings, host).as_dict()["outdated"] == 0


def test_prompts_say_what_training_says(host, root):
    words = {"caption_prefix": "photo of", "shuffle_caption": True, "caption_dropout_rate": 0.9}
    made(host, recipe(root, **SMALL, **words))
    assert {r.prompt for r in host.drawn} == {"photo of cat, sitting (indoors)", "photo of cat, lying", "photo of"}
    assert (root / "reg" / "3_cat" / "b.txt").read_text() == "cat, lying"  # training puts the words before it again
    weighted = regularisation.look(recipe(root, **SMALL, weighted_captions=True), host).wanted
    assert not any(item.request.literal for item in weighted)


def test_undo_deletes_what_was_made_and_nothing_else(host, root):
    settings = recipe(root, **SMALL)
    made(host, settings)
    own, edited = root / "reg" / "1_dog" / "own.png", root / "reg" / "3_cat" / "b.txt"
    Image.new("RGB", (64, 64)).save(own)
    edited.write_text("mine", encoding="utf-8")
    assert regularisation.undo(settings, host) == 4
    left = sorted(path for path in (root / "reg").rglob("*.*"))
    assert left == sorted([own, edited])
    own.unlink()
    edited.unlink()
    made(host, settings)
    regularisation.undo(settings, host)
    assert not (root / "reg").exists()


def test_stopped_in_the_middle_it_goes_on_where_it_was(host, root):
    settings, runner = recipe(root, **SMALL), JobRunner(host)
    host.script = lambda number: runner.tell("stop") if number == 1 else None
    regularisation.start(settings, runner)
    assert runner.wait(30)
    last = runner.job.journal.all()[-1]
    assert isinstance(last, Done) and last.reason == "stopped" and len(host.drawn) == 2
    made(host, settings)
    assert len(host.drawn) == 4
    assert len({(r.prompt, r.width, r.seed) for r in host.drawn}) == 4


def test_a_picture_that_fails_leaves_nothing_half_written(host, root):
    def fail(number):
        if number == 2:
            raise HostError("The web UI could not draw the picture: no memory", "Look at its console.")

    host.script = fail
    events = made(host, recipe(root, **SMALL))
    assert isinstance(events[-1], Failed) and "no memory" in events[-1].text
    assert len(list((root / "reg").rglob("*.png"))) == 2 and not list((root / "reg").rglob(".*"))


def test_it_waits_for_the_checkpoint_it_began_with(host, root):
    settings, runner = recipe(root, **SMALL), JobRunner(host)

    def switch(number):
        if number == 1:
            host.checkpoint = "other.safetensors"
            threading.Timer(0.3, lambda: setattr(host, "checkpoint", "base.safetensors")).start()

    host.script = switch
    regularisation.start(settings, runner)
    assert runner.wait(30)
    kinds = [type(event) for event in runner.job.journal.all()]
    assert kinds.count(Paused) == kinds.count(Resumed) == 1 and kinds[-1] is Done
    assert {r.checkpoint for r in host.drawn} == {"base.safetensors"} and len(host.drawn) == 4


def test_one_job_at_a_time_and_the_host_is_free_between_pictures(host, root):
    settings, runner = recipe(root, **SMALL), JobRunner(host)
    go = threading.Event()
    host.script = lambda number: go.wait(20)
    regularisation.start(settings, runner)
    with pytest.raises(Conflict, match="Regularisation pictures"):
        regularisation.start(settings, runner)
    with pytest.raises(Conflict, match="Regularisation pictures"):
        runner.start(settings)
    runner.tell("pause")
    go.set()
    while runner.status()["state"] != "paused" or host.lock.locked():
        pass
    assert runner.status()["kind"] == "regularise"
    assert runner.status()["phase"]["total"] == 4
    runner.tell("resume")
    assert runner.wait(30) and len(host.drawn) == 4


def test_an_interrupted_picture_is_drawn_again_after_the_pause(host, root):
    settings, runner = recipe(root, **SMALL), JobRunner(host)
    draw, refused = host.txt2img, []

    def interrupted(request):
        if len(host.drawn) == 1 and not refused:
            refused.append(request)
            return []
        return draw(request)

    host.txt2img = interrupted
    regularisation.start(settings, runner)
    while runner.status()["state"] != "paused":
        pass
    assert len(list((root / "reg").rglob("*.png"))) == 1
    runner.tell("resume")
    assert runner.wait(30) and len(list((root / "reg").rglob("*.png"))) == 4


def test_a_chosen_folder_may_be_empty_and_one_with_loose_pictures_is_left_alone(host, root, tmp_path):
    chosen = tmp_path / "regular"
    chosen.mkdir()
    settings = recipe(root, reg_data_dir=str(chosen), **SMALL)
    made(host, settings)
    assert len(list(chosen.rglob("*.png"))) == 4 and not (root / "reg").exists()
    loose = tmp_path / "loose"
    loose.mkdir()
    Image.new("RGB", (64, 64)).save(loose / "x.png")
    with pytest.raises(SettingsError, match="loose") as refused:
        regularisation.begin(recipe(root, reg_data_dir=str(loose), **SMALL), host)
    assert refused.value.field == "reg_data_dir" and "folder" in refused.value.remedy


def test_a_flat_folder_gets_them_under_its_own_name_and_repeats(host, root):
    flat = root / "3_cat"
    flat = flat.rename(root / "cat")
    settings = recipe(flat, dataset_repeats=5, **SMALL)
    made(host, settings)
    assert sorted(p.name for p in (flat / "reg" / "5_cat").glob("*.png")) == ["a.jpg.png", "a.png", "b.png"]
    assert sum(r.is_reg for r in scan(settings.data, settings.captions).records) == 3


@pytest.mark.slow
def test_stand_alone_from_the_command_line_with_a_real_model(tmp_path, root, tiny_checkpoint, capsys):
    import json

    from lib_lora_train.app.cli import main
    from lib_lora_train.settings import recipe as recipes

    file = tmp_path / "recipe.toml"
    file.write_text(recipes.dumps(recipe(root, **SMALL)), encoding="utf-8")
    asked = ["regularise", str(file), "--checkpoint", str(tiny_checkpoint), "--json"]
    assert main(asked) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["state"], report["there"], report["missing"]) == ("done", 4, 0)
    pixels = [Image.open(path).convert("RGB").tobytes() for path in sorted((root / "reg").rglob("*.png"))]
    assert len(set(pixels)) == 4
    again = root / "reg" / "3_cat" / "b.png"
    first = Image.open(again).tobytes()
    again.unlink()
    assert main(asked) == 0 and Image.open(again).tobytes() == first
    assert main([*asked, "--undo"]) == 0 and not (root / "reg").exists()
