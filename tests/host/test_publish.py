"""A saved LoRA shows at once in the real web UI, also over an old name, in the list, on the card and in pictures."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import materials
import pytest
from harness import Spec, WebUI
from PIL import Image

pytestmark = pytest.mark.host


def listed(ui: WebUI, name: str) -> dict:
    """The web UI's own record of a LoRA; {} when it knows none."""
    return next((lora for lora in ui.get("/sdapi/v1/loras") if lora["name"] == name), {})


def card(ui: WebUI, name: str) -> str:
    """The card's HTML, rendered by the web UI."""
    answer = ui.get(f"/sd_extra_networks/get-single-card?page=lora&tabname=txt2img&name={name}")
    return answer["html"]


def replaced(spec: Spec, path: Path, **how) -> None:
    """Another LoRA over `path`, with the same modification time: two saves within one tick of a coarse clock."""
    before = path.stat().st_mtime_ns
    beside = materials.lora(spec.checkpoint, path.with_suffix(".new"), **how)
    os.utime(beside, ns=(before, before))
    os.replace(beside, path)


def test_a_new_file_is_listed_with_card_and_picture(webui: WebUI, spec: Spec):
    path = materials.lora(spec.checkpoint, webui.lora_dir / "fresh.safetensors", note="first")
    Image.new("RGB", (64, 64), "red").save(path.with_suffix(".png"))
    path.with_suffix(".json").write_text('{"activation text": "sks thing", "sd version": "SD1"}')
    assert listed(webui, "fresh") == {}
    webui.post("/probe/publish", {"name": "fresh"})
    assert listed(webui, "fresh")["metadata"]["note"] == "first"
    html = card(webui, "fresh")
    assert 'data-name="fresh"' in html and "fresh.png" in html and "sks thing" in html
    answer = webui.get("/sd_extra_networks/metadata?page=lora&item=fresh")
    assert '"note": "first"' in answer["metadata"]


def test_a_card_found_before_shows_its_new_picture(webui: WebUI, spec: Spec):
    path = materials.lora(spec.checkpoint, webui.lora_dir / "later.safetensors")
    webui.post("/probe/publish", {"name": "later"})
    assert "later.png" not in card(webui, "later")
    Image.new("RGB", (64, 64), "red").save(path.with_suffix(".png"))
    webui.post("/probe/publish", {"name": "later"})
    assert "later.png" in card(webui, "later")


@pytest.mark.parametrize("merged", [True, False], ids=["merged", "not merged"])
def test_over_an_old_name_pictures_and_metadata_are_the_new_files(webui: WebUI, spec: Spec, merged: bool):
    """The web UI by itself would keep the old weights (same name, same multiplier), texts and metadata."""
    name = f"again{merged}"
    path = materials.lora(spec.checkpoint, webui.lora_dir / f"{name}.safetensors", seed=1, note="old")
    webui.post("/probe/publish", {"name": name})
    prompt = f"red circle <lora:{name}:1>"
    old = webui.txt2img(prompt)
    if not merged:
        webui.txt2img("red circle")
    replaced(spec, path, seed=2, note="new", ss_output_name=name)
    webui.post("/probe/publish", {"name": name})
    new = webui.txt2img(prompt)
    materials.lora(spec.checkpoint, webui.lora_dir / f"fresh{name}.safetensors", seed=2, note="new")
    webui.post("/probe/publish", {"name": f"fresh{name}"})
    assert new != old
    assert new == webui.txt2img(f"red circle <lora:fresh{name}:1>")
    assert listed(webui, name)["metadata"]["note"] == "new"


def test_published_while_a_picture_is_drawn(webui: WebUI, spec: Spec):
    """Publishing does not wait for it; the picture is the old file's, the next one the new file's."""
    path = materials.lora(spec.checkpoint, webui.lora_dir / "busy.safetensors", seed=1)
    webui.post("/probe/publish", {"name": "busy"})
    long = {"prompt": "red circle <lora:busy:1>", "steps": 40, "size": 128}
    old = webui.txt2img(**long)
    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(webui.txt2img, **long)
        while not webui.get("/sdapi/v1/progress")["state"]["sampling_step"]:
            assert not drawn.done()
        replaced(spec, path, seed=2, ss_output_name="busy")
        begun = time.monotonic()
        webui.post("/probe/publish", {"name": "busy"})
        assert time.monotonic() - begun < 2
        assert drawn.result() == old
    assert webui.txt2img(**long) != old


def test_folders_are_the_hosts(webui: WebUI):
    folders = webui.post("/probe/folders")
    assert Path(folders["lora"]) == webui.lora_dir
    assert Path(folders["data"]) == webui.data_dir / "train-lora"


def test_a_released_file_is_not_mapped_any_more(webui: WebUI, spec: Spec):
    """Where files in use cannot be replaced, and where a mapped file that changes its length ends the server."""
    path = materials.lora(spec.checkpoint, webui.lora_dir / "mapped.safetensors")
    webui.post("/probe/publish", {"name": "mapped"})
    webui.txt2img("red circle <lora:mapped:1>")
    if not webui.post("/probe/mapped", {"path": str(path)})["mapped"]:
        pytest.skip("this web UI's libraries read LoRAs whole")
    webui.post("/probe/release", {"name": "mapped"})
    assert not webui.post("/probe/mapped", {"path": str(path)})["mapped"]
    path.write_bytes(b"")  # would end the server with a bus error
    webui.txt2img("red circle")


def test_of_two_files_of_one_name_the_web_ui_knows_the_last(webui: WebUI, spec: Spec):
    """Why a name that another folder has is refused, and which of two old ones "train again" opens."""
    for number, folder in enumerate(("animals", "people"), 1):
        path = webui.lora_dir / folder / "twin.safetensors"
        path.parent.mkdir(exist_ok=True)
        materials.lora(spec.checkpoint, path, seed=number, note=folder)
    webui.post("/probe/publish", {"name": "people/twin"})
    assert [lora["path"] for lora in webui.get("/sdapi/v1/loras") if lora["name"] == "twin"] == [str(path)]
    assert webui.get("/train-lora/v1/lora?name=twin")["file"] == "people/twin.safetensors"
    pictures = webui.data_dir / "pictures"
    pictures.mkdir()
    Image.new("RGB", (64, 64), "red").save(pictures / "a.png")
    settings = {"train_data_dir": str(pictures), "output_name": "twin"}
    status, answer = webui.request("POST", "/train-lora/v1/start", {"settings": settings, "confirm_overwrite": True})
    assert status == 400 and answer["field"] == "output_name" and "/twin.safetensors" in answer["error"]
