"""After a run: keeping a snapshot, sheets of pictures, deleting with undo; by the routes the page uses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from app_stage import StageEngine, StageHost, pictures, recipe
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lib_lora_train.app import leak
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.routes import add_routes
from lib_lora_train.events import Snapshot
from lib_lora_train.export import lora_file
from lib_lora_train.settings.load import to_mapping


class Painter(StageHost):
    """Paints by seed and LoRA, and remembers what it was asked; `interrupt` pictures are none."""

    def __init__(self, root):
        super().__init__(root)
        self.asked, self.interrupt, self.released, self.after = [], 0, [], lambda: None

    def txt2img(self, request):
        self.asked.append(request)
        self.after()
        if self.interrupt:
            self.interrupt -= 1
            return []
        for path in request.files.values():
            assert path.is_file()
        strength = sum(float(text) for text in re.findall(r":([\d.]+)>", request.prompt))
        return [Image.new("RGB", (64, 64), (request.seed % 256, 40, round(100 * strength)))]

    def release(self, path):
        self.released.append(path)


class TwoSnapshots(StageEngine):
    """As the stage's, with a snapshot before the last."""

    def _steps(self, control):
        done = yield from super()._steps(control)
        yield self._early
        return done

    def __call__(self, loan, settings, control, folder, resume=False):
        path = folder.snapshots / "cat-step1.safetensors"
        metadata = {"ss_output_name": "cat", "ss_session_id": "7", "ss_base_model_version": "sd_v1"}
        lora_file.save(path, {"lora_te_x.alpha": torch.full((1,), 2.0)}, metadata)
        self._early = Snapshot(step=1, epoch=1, path=folder.relative(path))
        return super().__call__(loan, settings, control, folder, resume)


class Stage:
    def __init__(self, root):
        self.host = Painter(root)
        self.runner = JobRunner(self.host, engine=TwoSnapshots(self.host))
        app = Starlette()
        add_routes(app, self.host, self.runner)
        self.client = TestClient(app)
        self.recipe = recipe(pictures(root / "pictures"), sample_prompts="cat, sitting\ncat, asleep --d 9")
        self.runner.start(self.recipe)
        assert self.runner.wait(20)
        self.run = self.get("runs")["runs"][0]
        self.host.asked.clear()  # the card's picture

    def get(self, route, **query):
        answer = self.client.get(f"/train-lora/v1/{route}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.content

    def post(self, route, status=200, **body):
        answer = self.client.post(f"/train-lora/v1/{route}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def sheet(self, **order):
        self.post("sheet", run=self.run["id"], **order)
        assert self.runner.wait(20)
        return self.get("sheets", run=self.run["id"])["sheets"][0]

    @property
    def paths(self):
        return [row["path"] for row in self.run["snapshots"]]


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_any_snapshot_can_become_the_lora_with_a_weight_and_a_picture(stage):
    lora = stage.host.lora_dir() / "cat.safetensors"
    assert torch.equal(load(lora), torch.ones(1))
    sheet = stage.sheet(kind="strengths", snapshots=stage.paths, strengths=[0.6, 1.0])
    answer = stage.post("keep", run=stage.run["id"], snapshot=stage.paths[0], weight=0.6, sheet=sheet["id"], cell=0)
    assert (answer["name"], answer["step"], answer["notes"]) == ("cat", 1, [])
    assert torch.equal(load(lora), torch.full((1,), 2.0)), "the file is the chosen snapshot's"
    card = json.loads(lora.with_suffix(".json").read_text())
    assert card["preferred weight"] == 0.6 and card["activation text"] == "cat"
    with Image.open(lora.with_suffix(".png")) as thumbnail:
        assert thumbnail.getpixel((0, 0)) == (1, 40, 60), "the picture it was chosen by"
    listed = stage.get("runs")["runs"][0]
    assert listed["loras"][-1]["step"] == 1 and listed["state"] == "done"


def load(path):
    from safetensors.torch import load_file

    return load_file(path)["lora_te_x.alpha"]


def test_only_snapshots_that_the_run_tells_of_are_kept(stage):
    for path in ("../../x.safetensors", "recipe.toml", "snapshots/none.safetensors"):
        assert "no such snapshot" in stage.post("keep", 404, run=stage.run["id"], snapshot=path)["error"]


def test_a_grid_draws_each_snapshot_at_each_strength_with_fixed_seeds(stage):
    sheet = stage.sheet(kind="strengths", snapshots=stage.paths, strengths=[0.5, 1.0])
    assert len(stage.host.asked) == 8 == sum(cell["drawn"] for cell in sheet["cells"])
    names = {name for request in stage.host.asked for name in request.files}
    assert len(names) == 2, "one name for each snapshot, none of them in the LoRA folder"
    assert [path.name for path in stage.host.lora_dir().glob("*.safetensors")] == ["cat.safetensors"]
    for request, cell in zip(stage.host.asked, sheet["cells"], strict=True):
        name, path = next(iter(request.files.items()))
        assert request.prompt == f"{cell['prompt']} <lora:{name}:{cell['te']:g}:{cell['unet']:g}>"
        assert path.as_posix().endswith(cell["lora"]) and request.checkpoint == "base.safetensors"
    assert [cell["seed"] for cell in sheet["cells"]] == [1] * 4 + [9] * 4
    whole = stage.get("sheets/picture", run=stage.run["id"], sheet=sheet["id"])
    assert whole.startswith(b"\x89PNG")
    assert {path.name for path in stage.host.released} >= {"cat-step1.safetensors", "final.safetensors"}


def test_the_two_parts_have_strengths_of_their_own_in_the_web_uis_order(stage):
    sheet = stage.sheet(kind="parts", snapshots=stage.paths[:1], strengths=[0.4], te=[0.9], prompts=["cat"])
    assert re.search(r"<lora:\w+:0\.9:0\.4>", stage.host.asked[-1].prompt)
    assert (sheet["rows"], sheet["columns"]) == (["U-Net 0.4"], ["text encoder 0.9"])


def test_another_checkpoint_is_asked_for_by_its_title(stage):
    stage.sheet(kind="checkpoints", snapshots=stage.paths[:1], strengths=[1.0], checkpoints=["other.safetensors"])
    assert {request.checkpoint for request in stage.host.asked} == {"other.safetensors"}


def test_a_leak_check_measures_what_the_lora_changes_without_its_trigger(stage):
    sheet = stage.sheet(kind="leak", snapshots=stage.paths[:1], prompts=["a house", "a cat"])
    first, second = sheet["cells"][:2]
    assert (first["lora"], second["lora"]) == ("", stage.paths[0]) and first["seed"] == second["seed"]
    assert first["change"] == -1
    assert second["change"] == pytest.approx(100 / 255 / 3, abs=1e-3) and second["words"]
    assert "“a cat” holds the trigger word" in sheet["note"]


def test_what_the_base_knows_is_drawn_before_there_is_a_run(stage):
    stage.post("sheet", kind="base", prompts=["cat ears", "red dress"], settings=to_mapping(stage.recipe))
    assert stage.runner.wait(20)
    sheet = stage.get("sheets")["sheets"][0]
    assert [cell["drawn"] for cell in sheet["cells"]] == [True] * 6
    assert not any(request.files for request in stage.host.asked)


def test_stopping_keeps_what_is_drawn_and_a_run_can_start_then(stage):
    stage.host.after = lambda: len(stage.host.asked) == 3 and stage.runner.tell("stop")
    sheet = stage.sheet(kind="strengths", snapshots=stage.paths, strengths=[0.5, 1.0])
    assert sum(cell["drawn"] for cell in sheet["cells"]) == 3
    assert stage.get("sheets/picture", run=stage.run["id"], sheet=sheet["id"]).startswith(b"\x89PNG")
    missing = stage.client.get(
        "/train-lora/v1/sheets/picture", params={"run": stage.run["id"], "sheet": sheet["id"], "cell": 5}
    )
    assert missing.status_code == 404


def test_an_interruption_in_the_web_ui_pauses_and_no_picture_is_lost(stage):
    stage.host.interrupt = 1
    stage.post("sheet", run=stage.run["id"], kind="strengths", snapshots=stage.paths[:1], strengths=[1.0])
    assert not stage.runner.wait(1)
    assert stage.runner.status()["state"] == "paused"
    assert stage.post("start", 409, settings=to_mapping(stage.recipe)), "one job at a time"
    stage.runner.tell("resume")
    assert stage.runner.wait(20)
    assert all(cell["drawn"] for cell in stage.get("sheets", run=stage.run["id"])["sheets"][0]["cells"])


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "nothing"},
        {"kind": "strengths"},
        {"kind": "strengths", "strengths": ["much"]},
        {"kind": "leak"},
        {"kind": "checkpoints"},
    ],
)
def test_orders_that_make_no_sense_are_refused_in_words(stage, order):
    answer = stage.post("sheet", 400, run=stage.run["id"], **order)
    assert answer["error"] and answer["remedy"]
    assert stage.runner.status() is None


def test_a_deleted_run_comes_back_with_one_click(stage):
    run = stage.run["id"]
    item = stage.post("delete", run=run)
    assert stage.get("runs")["runs"] == [] and stage.get("trash")["items"][0]["name"] == run
    stage.post("restore", id=item["id"])
    assert stage.get("runs")["runs"][0]["snapshots"] == stage.run["snapshots"]
    assert stage.get("trash")["items"] == []


def test_a_deleted_lora_takes_card_and_pictures_along_and_leaves_its_namesakes(stage):
    folder = stage.host.lora_dir()
    (folder / "cat.preview.png").write_bytes(b"x")
    (folder / "cat2.json").write_text("{}")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    item = stage.post("delete", lora="cat")
    assert [path.name for path in folder.iterdir()] == ["cat2.json"]
    (folder / "cat.safetensors").write_bytes(b"new")
    assert "exists again" in stage.post("restore", 409, id=item["id"])["error"]
    (folder / "cat.safetensors").unlink()
    stage.post("restore", id=item["id"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_trash_is_emptied_after_a_month(stage, monkeypatch):
    item = stage.post("delete", run=stage.run["id"])
    note = stage.host.data_dir() / "trash" / item["id"] / "what.json"
    facts = json.loads(note.read_text())
    note.write_text(json.dumps({**facts, "when": facts["when"] - 31 * 86400}))
    assert stage.get("trash")["items"] == []
    assert not note.parent.exists()


def test_a_change_is_nought_for_the_same_picture_and_one_for_its_opposite():
    black, white = (Image.new("RGB", (32, 32), colour) for colour in ("black", "white"))
    assert leak.change(black, black) == 0 and leak.change(black, white) == 1
    assert leak.words(0) == "leaves it as it is" and leak.words(1) == "makes another picture of it"


def test_a_picked_picture_becomes_a_training_picture_with_its_prompt_as_caption(stage):
    folder = stage.recipe.data.train_data_dir
    sheet = stage.sheet(kind="strengths", snapshots=stage.paths[:1], strengths=[1.0], prompts=["cat, , running"])
    answer = stage.post("collect", run=stage.run["id"], sheet=sheet["id"], cell=0, folder=folder)
    assert (answer["folder"], answer["count"]) == (folder, 4)
    with Image.open(f"{folder}/2_cat/{answer['name']}") as image:
        assert image.size == (64, 64)
    caption = f"{folder}/2_cat/{answer['name'].replace('.png', '.txt')}"
    with open(caption, encoding="utf-8") as file:
        assert file.read() == "cat, running"


def test_a_gallery_picture_starts_a_set_of_its_own_and_brings_its_prompt(stage):
    from io import BytesIO

    from PIL import PngImagePlugin

    info, body = PngImagePlugin.PngInfo(), BytesIO()
    info.add_text("parameters", "cat, <lora:x:1>, a (red) hat\nNegative prompt: bad\nSteps: 20, Sampler: Euler")
    Image.new("RGB", (64, 64), "red").save(body, "PNG", pnginfo=info)
    headers = {"Content-Type": "application/octet-stream"}
    url = "/train-lora/v1/collect/file"
    answer = stage.client.post(url, params={"folder": ""}, content=body.getvalue(), headers=headers).json()
    assert stage.host.data_dir() / "uploads" in Path(answer["folder"]).parents and answer["count"] == 1
    caption = Path(answer["folder"]) / answer["name"].replace(".png", ".txt")
    assert caption.read_text(encoding="utf-8") == "cat, a (red) hat"
    refused = stage.client.post(url, params={"folder": ""}, content=b"GIF89a", headers=headers)
    assert refused.status_code == 400 and "no picture" in refused.json()["error"]
    stage.host.allowed = False
    refused = stage.client.post(url, params={"folder": "/etc"}, content=body.getvalue(), headers=headers)
    assert refused.status_code == 403
