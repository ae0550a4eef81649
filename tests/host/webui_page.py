"""A real web UI's page in a browser, worked as a user works it: the trainer's tab, txt2img, cards, reloading."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import WebUI
from PIL import Image

USUAL, LONG = 150_000, 300_000  # ms; web UIs without a graphics card on a busy machine, whole runs
_PICTURE = "#txt2img_gallery img:not(.livePreview img)"  # Neo previews from the first step on
_NEW_PICTURE = """([picture, old]) => {
  const image = document.querySelector(picture);
  return image && image.complete && image.naturalWidth > 0 && image.src !== old;
}"""
_SOURCE = "(picture) => (document.querySelector(picture) || {}).src || ''"


@dataclass
class WebPage:
    """`page` is playwright's."""

    page: Any
    ui: WebUI

    def open(self) -> WebPage:
        """Load the page and show the trainer's tab with its form ready."""
        self.page.set_default_timeout(USUAL)
        self.page.goto(self.ui.base_url)
        self.ready()
        return self.tab("Train LoRA")

    def ready(self) -> None:
        self.page.wait_for_selector("#txt2img_prompt textarea")
        self.page.wait_for_function("window.trainLora && trainLora.wake && document.querySelector('#train-lora-root')")
        self.eval("trainLora.wake()")
        self.page.wait_for_function(
            "window.trainLora && trainLora.recipe && trainLora.recipe.ready && trainLora.status"
        )

    def tab(self, title: str) -> WebPage:
        self.page.click(f"#tabs > .tab-nav > button:has-text('{title}')")
        return self

    def eval(self, code: str, arg: Any = None) -> Any:
        return self.page.evaluate(code, arg)

    # training

    def fill(self, folder: Path, name: str, trigger: str, recipe: Path) -> None:
        """A recipe file, the pictures, name and trigger word, as far as the prediction of what will happen."""
        self.page.click("#train_lora_tab_tools")
        self.page.set_input_files("#train_lora_recipe_file input[type=file]", str(recipe))
        self.page.wait_for_selector("#train_lora_recipe_file .tl-ok")
        self.page.click("#train_lora_tab_pictures")
        self.page.fill("#train_lora_folder", str(folder))
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#train_lora_counts b")
        self.page.click("button:has-text('Next: choose a recipe')")
        self.page.fill("#train_lora_output_name", name)
        self.page.fill("#train_lora_trigger_word", trigger)
        self.page.wait_for_function(
            "trainLora.recipe.check && !trainLora.recipe.checking && trainLora.recipe.check.estimate.steps"
        )

    def train(self, overwrite: bool = False) -> str:
        """Click Train; the run's id, once it is on. `overwrite` answers the question that is then asked."""
        self.page.click("#train_lora_tab_recipe")
        before = self.eval("(trainLora.current || {}).id || ''")
        self.page.click("#train_lora_train")
        if overwrite:
            self.page.click("dialog button:has-text('Overwrite')")
        self.page.wait_for_function("(old) => trainLora.current && trainLora.current.id !== old", arg=before)
        return self.eval("trainLora.current.id")

    def step(self) -> int:
        """The last step that the page knows of."""
        return self.eval("(((trainLora.status || {}).job || {}).progress || {}).step || 0")

    def steps_more(self, count: int = 2) -> int:
        """Until the page shows `count` more steps; the last one."""
        begun = self.step()
        self.page.wait_for_function(
            "([begun, count]) => { const job = trainLora.status.job;"
            " return job && job.state === 'running' && job.progress && job.progress.step >= begun + count }",
            arg=[begun, count],
        )
        return self.step()

    def finished(self) -> str:
        """What the page says when the run is over and all of it is published."""
        return self.page.wait_for_selector("#train_lora_outcome .tl-note", timeout=LONG).inner_text()

    # txt2img

    def look(self, prompt: str, seed: int = 1, size: int = 64) -> Image.Image:
        """Generate by the page; the pixels. Stays on txt2img."""
        self.inner_tab("Generation")
        for name, value in {"steps": 4, "width": size, "height": size, "cfg_scale": 5}.items():
            self.page.fill(f"#txt2img_{name} input[type=number]", str(value))
        self.page.fill("#txt2img_seed input", str(seed))
        self.page.fill("#txt2img_prompt textarea", prompt)
        return self.generate()

    def generate(self) -> Image.Image:
        """Click Generate with the form as it stands; the pixels of the new picture."""
        seen = self.eval(_SOURCE, _PICTURE)
        self.page.click("#txt2img_generate")
        self.page.wait_for_function(_NEW_PICTURE, arg=[_PICTURE, seen])
        body = self.page.request.get(self.eval(_SOURCE, _PICTURE)).body()
        image = Image.open(io.BytesIO(body))
        return Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())

    def prompt(self) -> str:
        return self.page.input_value("#txt2img_prompt textarea")

    def cards(self, where: str = "txt2img") -> WebPage:
        """The Lora panel of a prompt tab."""
        return self.inner_tab("Lora", where)

    def inner_tab(self, title: str, where: str = "txt2img") -> WebPage:
        """One of those below the prompt of `where`."""
        self.tab(where).page.click(f"#{where}_extra_tabs > .tab-nav > button:has-text('{title}')")
        return self

    def card(self, name: str) -> Any:
        """The card of that name, which must be there without anybody's asking for it."""
        return self.page.wait_for_selector(f"#txt2img_lora_cards .card[data-name={name}]")

    def card_picture(self, name: str) -> str:
        """Address of the thumbnail, once it is drawn."""
        selector = f"#txt2img_lora_cards .card[data-name={name}] img.preview"
        self.page.wait_for_function("(s) => (document.querySelector(s) || {}).naturalWidth > 0", arg=selector)
        return self.eval("(s) => document.querySelector(s).src", selector)

    # the web UI itself

    def reload_ui(self) -> None:
        """Settings > Reload UI, until the page is back."""
        self.tab("Settings")
        self.eval("window.oldPage = true")
        self.page.click("#settings_restart_gradio")
        self.page.wait_for_function("!window.oldPage")
        self.ready()

    def choose_checkpoint(self, name: str) -> None:
        """In the list at the top of the page; and drawn with, which is when some web UIs load it."""
        kind = self.ui.spec.kind
        self.page.click(f"{kind.chooser} input")
        self.page.click(f"{kind.chooser} ul.options li:has-text('{name}')")
        if not kind.loads_at_once:
            until(lambda: name in self.ui.get("/sdapi/v1/options")["sd_model_checkpoint"])
            self.ui.txt2img("anything")


def until(what: Any, seconds: float = 120) -> Any:
    """The first true value of `what()`."""
    deadline = time.monotonic() + seconds
    while not (value := what()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert value
    return value
