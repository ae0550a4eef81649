"""Publishing into a folder that a web UI looks at: what appears, what is kept, what is told when something refuses."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora_train.app import publish as room
from lib_lora_train.app.publish import Publication, publish, taken
from lib_lora_train.errors import ExportError, HostError, SettingsError
from lib_lora_train.events import Phase, Warned
from lib_lora_train.export import folder, lora_file, metadata, thumbnail
from lib_lora_train.export.metadata import RunFacts
from lib_lora_train.families.loan import Identity
from lib_lora_train.settings.load import from_mapping

BLUE = (0, 0, 250)


class Folder:
    """A host that is a folder: `shown` is what its list of LoRAs holds, by the alias prompts use."""

    name = "folder"

    def __init__(self, root: Path):
        self.root, self.shown, self.released, self.requests = root, {}, [], []
        self.problem: Exception | None = None

    def lora_dir(self) -> Path:
        return self.root / "models" / "Lora"

    def data_dir(self) -> Path:
        return self.root / "train-lora"

    def release(self, path: Path) -> None:
        self.released.append(path)

    def publish(self, path: Path) -> None:
        if isinstance(self.problem, HostError):
            raise self.problem
        self.shown[lora_file.read_metadata(path)["ss_output_name"]] = path

    def txt2img(self, request) -> list[Image.Image]:
        self.requests.append(request)
        if self.problem:
            raise self.problem
        assert any(f"<lora:{name}:" in request.prompt for name in self.shown), "asked for a LoRA that is not there yet"
        return [Image.new("RGB", (request.width, request.height), BLUE)]


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_FIRST_WAIT", 0.001)
    return Folder(tmp_path)


def _item(host: Folder, session: int = 1, step: int = 10, value: float = 1.0, **options) -> Publication:
    settings = from_mapping({"output_name": "cat", "trigger_word": "sks cat", "resolution": "64", **options})
    source = host.root / "runs" / str(session) / "snapshots" / f"cat-step{step:08}.safetensors"
    facts = RunFacts(Identity("x"), session_id=session, steps=step)
    lora_file.save(source, {"w": torch.full((4,), value)}, metadata.build(settings, facts))
    return Publication(source, settings, step, final=True)


def _files(host: Folder) -> list[str]:
    return sorted(p.relative_to(host.lora_dir()).as_posix() for p in host.lora_dir().rglob("*") if p.is_file())


def _color(path: Path) -> tuple:
    with Image.open(path) as image:
        return image.getpixel((0, 0))


def test_file_card_and_picture_appear(host):
    item, told = _item(host, output_folder="pets/small"), []
    published = publish(host, item, told.append)
    path = host.lora_dir() / "pets/small/cat.safetensors"
    assert (published.name, published.path, published.step) == ("cat", "pets/small/cat.safetensors", 10)
    assert _files(host) == [f"pets/small/{published.thumbnail[:-4]}{s}" for s in (".json", ".png", ".safetensors")]
    assert path.read_bytes() == item.source.read_bytes() and host.shown == {"cat": path} and told == []
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["activation text"] == "sks cat"
    assert _color(path.with_suffix(".png")) == BLUE
    assert host.requests[0].prompt == "sks cat <lora:cat:1>" and host.requests[0].width == 64


def test_the_runs_own_snapshot_is_replaced_unasked(host):
    publish(host, replace(_item(host, step=10), final=False), print)
    assert host.requests == []  # drawing waits for the end
    last = publish(host, _item(host, step=20, value=2.0), print)
    assert _files(host) == ["cat.json", "cat.png", "cat.safetensors"] and not (host.data_dir() / "replaced").exists()
    assert lora_file.read_metadata(host.lora_dir() / last.path)["ss_steps"] == "20"
    assert host.released == [host.lora_dir() / "cat.safetensors"]
    assert _color(host.lora_dir() / "cat.png") == BLUE


def test_anothers_lora_is_not_replaced_unasked(host):
    publish(host, _item(host, session=1), print)
    before = (host.lora_dir() / "cat.safetensors").read_bytes()
    assert taken(host, _item(host).settings)
    told = []
    for step in (10, 20):
        item = _item(host, session=2, step=step, value=2.0)
        published = publish(host, item, told.append)
    assert published.name == "cat-2" and host.shown.keys() == {"cat", "cat-2"}
    assert (host.lora_dir() / "cat.safetensors").read_bytes() == before
    read = lora_file.read_metadata(host.lora_dir() / "cat-2.safetensors")
    assert read["ss_output_name"] == read["modelspec.title"] == "cat-2" and read["ss_steps"] == "20"
    assert [type(event) for event in told] == [Warned] and "cat-2.safetensors" in told[0].text


def test_a_replaced_lora_is_kept_the_last_few(host):
    old = []
    for session in range(1, 7):
        told = []
        publish(host, replace(_item(host, session=session, value=session), overwrite=True), told.append)
        old.append((host.lora_dir() / "cat.safetensors").read_bytes())
        assert [type(event) for event in told] == [Phase] * (session > 1)
    kept = sorted((host.data_dir() / "replaced").iterdir())
    assert [p.read_bytes() for p in kept] == old[2:5]
    assert all(p.name.startswith("cat-20") and p.suffix == ".safetensors" for p in kept)
    assert (host.lora_dir() / "cat.safetensors").read_bytes() == old[5]


def test_an_old_backup_of_another_name_is_not_counted(host):
    kept = host.data_dir() / "replaced" / "cat-x-20200101-000000-000000.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"other")
    for session in range(1, 7):
        publish(host, replace(_item(host, session=session), overwrite=True), print)
    assert kept.read_bytes() == b"other" and len(list(kept.parent.iterdir())) == 4


@pytest.mark.parametrize("garbage", [b"", b"PK\x03\x04" * 100])
def test_a_damaged_file_of_that_name_is_somebodys(host, garbage):
    path = host.lora_dir() / "cat.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(garbage)
    assert publish(host, _item(host), print).name == "cat-2" and path.read_bytes() == garbage
    assert publish(host, replace(_item(host, session=3), overwrite=True), print).name == "cat"
    assert [p.read_bytes() for p in (host.data_dir() / "replaced").iterdir()] == [garbage]


def test_a_write_protected_lora_stays(host):
    path = host.lora_dir() / "cat.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    path.chmod(0o444)
    told = []
    assert publish(host, replace(_item(host), overwrite=True), told.append).name == "cat-2"
    assert path.read_bytes() == b"precious" and "write-protected" in told[0].text


def _held(monkeypatch, path: Path, times: int) -> list:
    """os.replace refuses `path` the first `times` times, as Windows does for a mapped file."""
    tried, real = [], os.replace

    def refuse(source, target):
        if Path(target) == path and len(tried) < times:
            tried.append(source)
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(target))
        return real(source, target)

    monkeypatch.setattr(folder.os, "replace", refuse)
    return tried


def test_a_file_held_for_a_moment_is_replaced(host, monkeypatch):
    publish(host, _item(host, session=1), print)
    tried = _held(monkeypatch, host.lora_dir() / "cat.safetensors", 2)
    told = []
    assert publish(host, replace(_item(host, session=2), overwrite=True), told.append).name == "cat"
    assert len(tried) == 2 and not [event for event in told if isinstance(event, Warned)]


def test_a_file_held_for_good_gets_a_neighbour(host, monkeypatch):
    publish(host, _item(host, session=1), print)
    before = (host.lora_dir() / "cat.safetensors").read_bytes()
    _held(monkeypatch, host.lora_dir() / "cat.safetensors", 1000)
    told = []
    published = publish(host, replace(_item(host, session=2), overwrite=True), told.append)
    assert published.name == "cat-2" and "in use" in told[0].text
    assert (host.lora_dir() / "cat.safetensors").read_bytes() == before
    assert list((host.data_dir() / "replaced").iterdir()) == []
    assert not [name for name in _files(host) if name.endswith(".tmp")]


def test_a_full_disk_loses_nothing(host, monkeypatch):
    publish(host, _item(host, session=1), print)
    before = {name: (host.lora_dir() / name).read_bytes() for name in _files(host)}
    item = replace(_item(host, session=2), overwrite=True)

    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(ExportError) as caught:
        publish(host, item, print)
    assert "cat.safetensors" in caught.value.message and "disk is full" in caught.value.remedy
    assert item.source.name in caught.value.remedy and item.source.exists()
    assert {name: (host.lora_dir() / name).read_bytes() for name in _files(host)} == before
    assert list((host.data_dir() / "replaced").iterdir()) == []


def test_killed_while_saving_leaves_the_old_file_and_is_swept_later(host):
    publish(host, _item(host, session=1), print)
    path = host.lora_dir() / "cat.safetensors"
    before = path.read_bytes()
    code = (
        "import os, sys, torch; from pathlib import Path; from lib_lora_train.export import folder, lora_file\n"
        "folder.os.fsync = lambda fd: os._exit(9)\n"
        "lora_file.save(Path(sys.argv[1]), {'w': torch.zeros(99)}, {})"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False).returncode == 9
    left = [name for name in _files(host) if name.endswith(".tmp")]
    assert path.read_bytes() == before and len(left) == 1
    for name in (left[0], ".cat.json.123.tmp", ".cat.png.123.tmp"):
        (host.lora_dir() / name).touch()
        os.utime(host.lora_dir() / name, (0, 0))
    publish(host, _item(host, session=1, step=30), print)
    assert not [name for name in _files(host) if name.endswith(".tmp")]


def test_a_file_in_the_folders_place_is_named(host):
    host.lora_dir().parent.mkdir(parents=True)
    host.lora_dir().write_text("a file")
    with pytest.raises(ExportError, match="cat.safetensors"):
        publish(host, _item(host), print)


def test_an_impossible_name_writes_nothing(host):
    for options in ({"output_name": "a/b"}, {"output_folder": "../.."}):
        with pytest.raises(SettingsError):
            publish(host, _item(host, **options), print)
    assert not host.lora_dir().exists()


def test_a_picture_that_cannot_be_drawn_is_the_last_sample_or_the_card_art(host, tmp_path):
    host.problem = RuntimeError("CUDA out of memory")
    sample = tmp_path / "sample.png"
    Image.new("RGB", (64, 64), (0, 250, 0)).save(sample)
    told = []
    publish(host, replace(_item(host), sample=sample), told.append)
    assert "CUDA out of memory" in told[0].text and _color(host.lora_dir() / "cat.png") == (0, 250, 0)
    sample.write_bytes(b"broken")
    told.clear()
    publish(host, replace(_item(host), sample=sample, draw=False), told.append)
    assert len(host.requests) == 1 and "sample.png" in told[0].text
    with Image.open(host.lora_dir() / "cat.png") as art:
        assert art.size == (341, 512)


def test_a_picture_of_the_users_stays(host):
    publish(host, _item(host), print)
    (host.lora_dir() / "cat.jpeg").write_bytes(b"mine")
    (host.lora_dir() / "cat.png").unlink()
    requests = len(host.requests)
    assert publish(host, _item(host, step=20), print).thumbnail == "cat.jpeg"
    assert len(host.requests) == requests and "cat.png" not in _files(host)


def test_no_thumbnail_when_none_is_wanted(host):
    assert publish(host, _item(host, make_thumbnail=False), print).thumbnail == ""
    assert _files(host) == ["cat.json", "cat.safetensors"] and host.requests == []


def test_a_list_that_cannot_be_refreshed_is_told_and_the_file_is_there(host):
    host.problem = HostError("The list is busy.", "Press refresh.")
    told = []
    publish(host, replace(_item(host), draw=False), told.append)
    assert told[0] == Warned(text="The list is busy.", remedy="Press refresh.") and "cat.safetensors" in _files(host)


def test_a_damaged_card_is_told(host):
    host.lora_dir().mkdir(parents=True)
    (host.lora_dir() / "cat.json").write_text("{broken")
    told = []
    publish(host, _item(host), told.append)
    assert "cat.json.bak" in told[0].text and (host.lora_dir() / "cat.json.bak").read_text() == "{broken"


def test_prompt_weight_and_size_of_the_picture():
    settings = from_mapping(
        {"preferred_weight": 0.75, "sample_prompts": "a, b --w 99\nsecond", "sample_size": "96x128"}
    )
    request = room.thumbnails.request(settings, "x", "SDXL", "base")
    assert request.prompt == "a, b <lora:x:0.75>" and (request.width, request.height) == (96, 128)
    assert request.checkpoint == "base"
    for family in ("SD1", "SD2", "SDXL", "not yet known"):
        assert room.thumbnails.request(from_mapping({}), "x", family).prompt == "<lora:x:1>"


def test_drawn_pictures_are_marked_as_ours(host):
    publish(host, _item(host), print)
    assert thumbnail.is_ours(host.lora_dir() / "cat.png")
