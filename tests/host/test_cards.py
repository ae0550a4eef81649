"""What the real web UI's own tabs get from us: “train again” on every LoRA, “send to the training set” at galleries."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import blob_pictures as pictures
import materials
import pytest
from harness import Spec, WebUI
from PIL import Image
from webui_page import LONG, WebPage, until

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(900)]
TABS = ("txt2img", "img2img")
NAMES = ("first", "second")
STYLE = "extra_networks_tree_view_style"
PLACES = {"cards": '#{tab}_lora_cards .card[data-name="{name}"]', "rows": "#{tab}_lora_tree .tree-list-content-file"}


@pytest.fixture(scope="module")
def loras(webui: WebUI, spec: Spec) -> None:
    """Two, one of them in a folder of its own."""
    (webui.lora_dir / "people").mkdir(exist_ok=True)
    for seed, (folder, name) in enumerate(zip(("", "people"), NAMES)):
        told = {"ss_network_dim": str(3 + seed), "ss_network_alpha": "2"}
        materials.lora(spec.checkpoint, webui.lora_dir / folder / f"{name}.safetensors", seed, **told)
    webui.post("/sdapi/v1/refresh-loras")


@pytest.fixture
def visitor(loras, visitor: WebPage) -> WebPage:
    """Who comes when they are there."""
    return visitor


@pytest.fixture
def styled(visitor: WebPage, webui: WebUI, style: str) -> WebPage:
    """The page with that style of card panels, and all LoRAs on it from the start."""
    known = visitor.page.locator(f'.card[data-name="{NAMES[0]}"]').count()
    if not known or webui.get("/sdapi/v1/options")[STYLE] != style:
        webui.post("/sdapi/v1/options", {STYLE: style})
        visitor.reload_ui()
    return visitor


def refresh(visitor: WebPage, spec: Spec, tab: str) -> None:
    """The panel's own button, when another LoRA came; until that is shown."""
    name = f"new-in-{tab}-{len(list(visitor.ui.lora_dir.glob('new-*')))}"
    materials.lora(spec.checkpoint, visitor.ui.lora_dir / f"{name}.safetensors")
    visitor.page.click(f"#{tab}_lora_extra_refresh")
    visitor.page.wait_for_selector(f"#{tab}_lora_cards .card[data-name={name}]", state="attached")


def unfold(visitor: WebPage, tab: str) -> None:
    """All folders of the tree."""
    folded = visitor.page.locator(f"#{tab}_lora_tree .tree-list-content-dir:not([data-expanded]):visible")
    while folded.count():
        folded.first.locator(".tree-list-item-action-chevron").first.click()


def shown(visitor: WebPage, tab: str, name: str, place: str):
    """The card of that name, or its row in the tree."""
    found = visitor.page.locator(PLACES[place].format(tab=tab, name=name))
    return found.filter(has_text=name).first


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("style", ["Dirs", "Tree"])
def test_every_lora_can_be_trained_again(styled: WebPage, spec: Spec, style: str, tab: str):
    train_again(styled.cards(tab), tab, "cards", "first", 3)
    refresh(styled.cards(tab), spec, tab)
    for rank, name in enumerate(NAMES, 3):
        for place in PLACES if style == "Tree" else ["cards"]:
            train_again(styled.cards(tab), tab, place, name, rank)
    item = shown(styled.cards(tab), tab, "first", "cards")
    item.hover()
    item.locator(".train-lora-again").focus()
    styled.page.keyboard.press("Enter")
    styled.page.wait_for_selector("#train_lora_again:visible p:has-text('Train first again')")


def train_again(visitor: WebPage, tab: str, place: str, name: str, rank: int) -> None:
    """By the button of that card or row: the recipe of that file comes into the form, and nothing into the prompt."""
    if place == "rows":
        unfold(visitor, tab)
    item = shown(visitor, tab, name, place)
    item.hover()
    item.locator(".train-lora-again").first.wait_for()
    assert item.locator(".train-lora-again").count() == 1
    item.locator(".train-lora-again").click()
    visitor.page.wait_for_selector(f"#train_lora_again:visible p:has-text('Train {name} again')")
    assert visitor.eval("trainLora.recipe.values.network_dim") == rank
    assert visitor.eval("trainLora.recipe.values.output_name") == name
    assert visitor.page.input_value(f"#{tab}_prompt textarea") == ""
    visitor.page.click("#train_lora_again button:has-text('Close')")


@pytest.mark.parametrize("tab", TABS)
def test_a_gallerys_picture_is_sent_to_the_training_set(visitor: WebPage, webui: WebUI, tab: str, tmp_path: Path):
    concept = pictures.make(tmp_path / "set", count=2) / "4_blob"
    visitor.page.click("#train_lora_tab_pictures")
    visitor.page.fill("#train_lora_folder", str(concept.parent))
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#train_lora_counts:has-text('2 pictures')")
    visitor.tab(tab)
    button = f"#image_buttons_{tab} .train-lora-send"
    assert visitor.page.locator(button).count() == 1
    visitor.page.click(button)
    visitor.page.wait_for_selector(f"#image_buttons_{tab} .train-lora-said:has-text('No picture yet')")
    if tab == "img2img":
        visitor.page.set_input_files("#img2img_image input[type=file]", str(next(concept.glob("*.png"))))
    drawn = two_pictures(visitor, tab)
    for index in (0, 1):  # the first is shown large; then another is chosen
        visitor.page.locator(f"#{tab}_gallery .thumbnails button.thumbnail-item").nth(index).click()
        visitor.page.click(button)
        said = f"#image_buttons_{tab} .train-lora-said:has-text('Sent to the training set: {3 + index} pictures')"
        visitor.page.wait_for_selector(said)
    sent = sorted(concept.glob("picked-*.png"), key=lambda path: path.stat().st_mtime_ns)
    assert [pixels(path.read_bytes()) for path in sent] == drawn, "the one that is shown, in full size"
    assert {path.with_suffix(".txt").read_text() for path in sent} == {"blob, red eyes"}
    visitor.tab("Train LoRA")
    visitor.page.wait_for_selector("#train_lora_counts:has-text('4 pictures')")


def two_pictures(visitor: WebPage, tab: str) -> list[bytes]:
    """Drawn by the page of that tab with a prompt that calls a LoRA; pixels in the gallery's order, no grid."""
    visitor.ui.post("/sdapi/v1/options", {"return_grid": False})
    visitor.inner_tab("Generation", tab)
    for name, value in {"steps": 2, "width": 64, "height": 64, "batch_count": 2}.items():
        visitor.page.fill(f"#{tab}_{name} input[type=number]", str(value))
    visitor.page.fill(f"#{tab}_prompt textarea", "blob <lora:first:1>, red eyes")
    visitor.page.click(f"#{tab}_generate")
    images = visitor.page.locator(f"#{tab}_gallery .thumbnails img")
    until(lambda: images.count() == 2, LONG / 1000)
    sources = [images.nth(index).evaluate("(image) => image.src") for index in range(2)]
    return [pixels(visitor.page.request.get(source).body()) for source in sources]


def pixels(content: bytes) -> bytes:
    return Image.open(BytesIO(content)).convert("RGB").tobytes()
