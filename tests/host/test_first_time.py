"""The first-time user's protocol (docs/first-time.md) in the real web UI: four inputs, and no click besides these."""

from __future__ import annotations

import json
from pathlib import Path

import blob_pictures as pictures
import pytest
from harness import WebUI
from test_e2e_story import QUICK
from webui_page import LONG, USUAL, WebPage

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(900)]
SHORT = {name: QUICK[name] for name in ("resolution", "min_bucket_reso", "max_bucket_reso", "max_train_steps")}
NOTED = """window.done = [];
for (const kind of ['click', 'change']) addEventListener(kind, (event) => {
  if (!event.isTrusted) return;
  const node = event.target.closest('button, [role=radio], input, textarea') || event.target;
  if (kind === 'click' && /^(INPUT|TEXTAREA)$/.test(node.tagName) && node.type !== 'radio') return; // to type into it
  if (kind === 'change' && node.type === 'radio') return; // its click is noted
  done.push(kind === 'click' ? (node.querySelector('b') || node).textContent.trim() : node.id);
}, true);"""


@pytest.fixture
def newcomer(webui: WebUI, page) -> WebPage:
    """A fresh browser. What is asked of the web UI is what the page says, only shorter: this machine may be slow."""
    webui.load(webui.spec.checkpoint.name)
    page.set_default_timeout(USUAL)

    def shortened(route) -> None:
        asked = json.loads(route.request.post_data)
        asked["settings"] |= SHORT
        route.continue_(post_data=json.dumps(asked))

    page.route("**/train-lora/v1/start", shortened)
    page.goto(webui.base_url)
    page.wait_for_selector("#txt2img_prompt textarea")
    page.evaluate(NOTED)
    return WebPage(page, webui)


def test_from_the_installed_extension_to_a_kept_lora(newcomer: WebPage, webui: WebUI, tmp_path: Path):
    folder, page = pictures.make(tmp_path), newcomer.page
    newcomer.tab("Train LoRA")
    page.wait_for_selector(f"#train_lora_head:has-text('{webui.spec.checkpoint.stem}')", timeout=LONG)
    page.fill("#train_lora_folder", str(folder))
    page.keyboard.press("Tab")
    page.wait_for_selector("#train_lora_counts:has-text('12 pictures')")
    page.click("button:has-text('Next: choose a recipe')")
    page.click("#train_lora_panel_recipe .tl-card:has-text('Easy')")
    page.fill("#train_lora_output_name", "newcomer")
    page.fill("#train_lora_trigger_word", "blob")
    page.keyboard.press("Tab")
    page.wait_for_selector("#train_lora_prediction:has-text('1,000 steps')")
    page.click("#train_lora_train")
    page.wait_for_selector("#train_lora_runbar:visible")
    assert "newcomer is finished: 20 steps" in newcomer.finished()
    made = webui.lora_dir / "newcomer"
    assert all(made.with_suffix(ending).is_file() for ending in (".safetensors", ".png", ".json")), "kept, with a card"
    assert json.loads(made.with_suffix(".json").read_text())["activation text"] == "blob"
    page.click("#train_lora_outcome .tl-try")
    page.wait_for_function("document.querySelector('#txt2img_prompt textarea').value === '<lora:newcomer:1> blob'")
    inputs = ["train_lora_folder", "train_lora_output_name", "train_lora_trigger_word"]
    assert [what for what in newcomer.eval("done") if what in inputs] == inputs
    others = [what.strip() for what in newcomer.eval("done") if what not in inputs]
    assert others == ["Train LoRA", "Next: choose a recipe", "Easy", "Train", "Try in txt2img"]
