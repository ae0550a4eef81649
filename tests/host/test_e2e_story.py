"""The whole story in a real web UI, through its page in a browser: from a folder of pictures to a card in txt2img."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import blob_pictures as pictures
import pytest
from harness import Spec, WebUI
from webui_page import WebPage, until

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(1800)]
QUICK = {
    "resolution": "64",
    "min_bucket_reso": 64,
    "max_bucket_reso": 128,
    "max_token_length": 75,
    "network_dim": 4,
    "network_alpha": 4,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "learning_rate": 5e-3,
    "max_train_steps": 20,
    "sample_every_n_steps": 10,
    "sample_steps": 2,
}
ENDLESS = {"max_train_steps": 5000, "sample_every_n_steps": 0, "make_thumbnail": False}
PLAIN, STYLED = "blob, red eyes", "<lora:blob:1> blob, red eyes"
SMALL_CHECKPOINT = 100e6  # bytes; up to this the time to the first step is promised


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def recipe(tmp_path: Path):
    """`recipe(**changes)`: a recipe file as "Save recipe" writes it."""

    def write(**changes) -> Path:
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps({**QUICK, **changes}))
        return path

    return write


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(webui: WebUI) -> Iterator[None]:
    """Whatever a test does: the web UI's weights and its pictures without the LoRA stay, byte for byte."""
    weights, picture = webui.post("/probe/weights"), webui.txt2img(PLAIN)
    yield
    webui.choose(webui.spec.checkpoint.name)
    end_run(webui)
    assert webui.txt2img(PLAIN) == picture
    assert webui.post("/probe/weights") == weights
    assert webui.post("/probe/read_merged") == {"merged": []}


@pytest.fixture
def blob(webui: WebUI, folder: Path) -> None:
    """A LoRA of that name exists, trained here."""
    if not (webui.lora_dir / "blob.safetensors").exists():
        settings = {**QUICK, "train_data_dir": str(folder), "output_name": "blob", "trigger_word": "blob"}
        webui.post("/train-lora/v1/start", {"settings": settings})
        until(lambda: not status(webui), 300)


def status(ui: WebUI) -> dict:
    """The run that is on; {} when none is."""
    return ui.get("/train-lora/v1/status")["job"] or {}


def end_run(ui: WebUI) -> None:
    if status(ui):
        ui.request("POST", "/train-lora/v1/stop", {})
        until(lambda: not status(ui), 300)


def step(ui: WebUI) -> int:
    return (status(ui).get("progress") or {}).get("step", 0)


def events(ui: WebUI, run: str, kind: str) -> list[dict]:
    found = ui.get(f"/train-lora/v1/events?run={run}&after=0")["events"]
    return [event for event in found if event["event"] == kind]


def test_from_a_folder_to_a_card_in_txt2img(visitor: WebPage, webui: WebUI, folder: Path, recipe):
    plain = visitor.look(PLAIN)
    visitor.tab("Train LoRA").fill(folder, "blob", "blob", recipe())
    visitor.train()
    visitor.page.wait_for_selector("#train_lora_runbar:visible")
    visitor.page.wait_for_selector("#train_lora_samples img")
    assert "blob is finished: 20 steps" in visitor.finished()
    assert visitor.eval("trainLora.current.points.length") == 20

    visitor.cards().card("blob")  # nobody restarted or refreshed anything
    assert "blob.png" in visitor.card_picture("blob")
    visitor.page.click("#txt2img_lora_cards .card[data-name=blob]")
    visitor.page.wait_for_function("document.querySelector('#txt2img_prompt textarea').value.includes('<lora:blob:')")
    styled = visitor.look(STYLED)
    assert styled != plain
    assert visitor.look(PLAIN) == plain

    visitor.page.fill("#txt2img_prompt textarea", "")
    visitor.tab("Train LoRA").page.click("#train_lora_outcome .tl-try")
    visitor.page.wait_for_function("document.querySelector('#txt2img_prompt textarea').value")
    assert visitor.prompt() == "<lora:blob:1> blob"
    assert visitor.generate() != plain


def test_pictures_while_it_trains(visitor: WebPage, webui: WebUI, folder: Path, recipe, blob):
    """By the page and by the API, with a LoRA and without; nobody waits for more than the step that is under way."""
    expected = {prompt: visitor.look(prompt) for prompt in (PLAIN, STYLED)}
    idle = [timed(webui) for _ in range(3)]
    visitor.tab("Train LoRA").fill(folder, "meanwhile", "blob", recipe(**ENDLESS))
    visitor.train()
    visitor.steps_more(3)
    for prompt in (PLAIN, STYLED, PLAIN):
        assert visitor.look(prompt) == expected[prompt]
    waits = []
    for _ in range(5):
        begun = step(webui)
        waits.append(timed(webui) - statistics.median(idle))
        assert step(webui) <= begun + 2  # the one that was under way, and perhaps one begun after
    pace = 1 / status(webui)["progress"]["it_per_s"]
    print(
        f"\nA picture alone {statistics.median(idle):.2f} s, while training {statistics.median(waits):+.2f} s,"
        f" longest {max(waits):+.2f} s; a step takes {pace:.2f} s"
    )
    visitor.tab("Train LoRA").steps_more(2)


def timed(ui: WebUI) -> float:
    """Seconds of one picture."""
    begun = time.monotonic()
    ui.txt2img(PLAIN)
    return time.monotonic() - begun


def test_paused_reloaded_and_found_again(visitor: WebPage, webui: WebUI, folder: Path, recipe):
    visitor.fill(folder, "patient", "blob", recipe(**ENDLESS))
    run = visitor.train()
    visitor.steps_more()
    visitor.page.click("#train_lora_pause")
    visitor.page.wait_for_selector("#train_lora_resume:visible")
    held = step(webui)
    visitor.page.wait_for_timeout(2000)
    assert step(webui) == held
    visitor.page.click("#train_lora_resume")
    visitor.steps_more()

    visitor.page.reload()
    visitor.ready()
    visitor.tab("Train LoRA")
    visitor.steps_more()
    assert visitor.eval("trainLora.current.id") == run
    assert visitor.eval("trainLora.current.points[0].step") == 1

    visitor.reload_ui()
    visitor.tab("Train LoRA")
    visitor.steps_more()
    assert visitor.eval("trainLora.current.id") == run and step(webui) > held
    visitor.page.click("#train_lora_stop")
    assert "stopped and kept" in visitor.finished()
    visitor.cards().card("patient")


def test_another_checkpoint_pauses_it(visitor: WebPage, webui: WebUI, spec: Spec, folder: Path, recipe):
    visitor.fill(folder, "switched", "blob", recipe(**ENDLESS))
    visitor.train()
    visitor.steps_more()
    visitor.choose_checkpoint("other.safetensors")
    said = visitor.page.wait_for_selector("#train_lora_runbar .tl-note:visible:has-text('other')").inner_text()
    assert spec.checkpoint.name in said
    held = step(webui)
    webui.txt2img(PLAIN)  # the lock is free meanwhile
    assert step(webui) == held
    visitor.choose_checkpoint(spec.checkpoint.name)
    visitor.steps_more()
    assert visitor.page.is_hidden("#train_lora_runbar .tl-note")


def test_train_again_from_its_card_over_its_name(visitor: WebPage, webui: WebUI, recipe, blob):
    visitor.cards()
    old, thumbnail = visitor.look(STYLED), visitor.card_picture("blob")
    visitor.cards().card("blob").hover()
    visitor.page.click("#txt2img_lora_cards .card[data-name=blob] .train-lora-again")
    visitor.page.wait_for_selector("#train_lora_again :has-text('recipe is complete')")
    assert visitor.eval("trainLora.recipe.values.network_dim") == QUICK["network_dim"]
    assert visitor.prompt() == STYLED  # the card's own click did not happen
    visitor.eval("trainLora.recipe.set('seed', 7)")
    visitor.train(overwrite=True)
    assert "blob is finished" in visitor.finished()
    new = visitor.look(STYLED)
    assert new != old
    visitor.page.wait_for_function(
        "(old) => { const image = document.querySelector('.card[data-name=blob] img.preview');"
        " return image && image.src !== old && image.naturalWidth > 0 }",
        arg=thumbnail,
    )
    assert len(list((webui.data_dir / "train-lora" / "replaced").glob("blob-*.safetensors"))) >= 1


def test_killed_and_continued(visitor: WebPage, webui: WebUI, folder: Path, recipe):
    visitor.fill(folder, "survivor", "blob", recipe(max_train_steps=40, save_state_every_n_steps=5))
    run = visitor.train()
    visitor.page.wait_for_function("trainLora.status.job && (trainLora.status.job.progress || {}).step >= 12")
    visitor.page.goto("about:blank")
    webui.kill()
    webui.start()
    visitor.open()
    visitor.page.click("#train_lora_tab_results")
    entry = f".tl-run[data-run='{run}']"
    assert "interrupted" in visitor.page.wait_for_selector(entry).inner_text()
    again = len(events(webui, run, "Progress"))
    visitor.page.click(f"{entry} button:has-text('Continue')")
    assert "survivor is finished: 40 steps" in visitor.finished()
    told = [event["step"] for event in events(webui, run, "Progress")]
    assert 10 < told[again] <= told[again - 1] + 1  # from the newest state, which may be of the very last step
    assert told[again:] == list(range(told[again], 41))
    visitor.cards().card("survivor")
    assert visitor.look("<lora:survivor:1> blob") != visitor.look("blob")


def test_the_first_step_comes_at_once(visitor: WebPage, webui: WebUI, spec: Spec, folder: Path, recipe):
    """From the click to the end of the first step, once the pictures are known; browser and web UI share a clock."""
    took = []
    visitor.fill(folder, "fast", "blob", recipe(max_train_steps=2, sample_every_n_steps=0, make_thumbnail=False))
    visitor.eval(
        "document.querySelector('#train_lora_train').addEventListener('click', () => window.clicked = Date.now(), true)"
    )
    for attempt in range(4):
        visitor.page.click("#train_lora_tab_recipe")
        visitor.page.fill("#train_lora_output_name", f"fast-{attempt}")
        run = visitor.train()
        visitor.page.wait_for_function("!trainLora.status.job && trainLora.current.outcome")
        took.append(events(webui, run, "Progress")[0]["t"] - visitor.eval("window.clicked") / 1000)
    print("\nFrom the click to the end of the first step, s:", *(f"{seconds:.2f}" for seconds in took))
    if spec.checkpoint.stat().st_size < SMALL_CHECKPOINT:
        assert statistics.median(took[1:]) < 3
