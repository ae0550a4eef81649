"""A saved LoRA shows at once in the real Forge, also over an old name, in the list, on the card and in pictures."""

from __future__ import annotations

import materials
import pytest
from harness import Spec, WebUI
from test_a1111_publish import (  # noqa: F401 the same promises
    test_a_card_found_before_shows_its_new_picture,
    test_a_new_file_is_listed_with_card_and_picture,
    test_folders_are_the_hosts,
    test_over_an_old_name_pictures_and_metadata_are_the_new_files,
    test_published_while_a_picture_is_drawn,
)

pytestmark = pytest.mark.host


def test_a_released_file_is_not_mapped_any_more(webui: WebUI, spec: Spec):
    """Where files in use cannot be replaced, and where a mapped file that changes its length ends the server."""
    path = materials.lora(spec.checkpoint, webui.lora_dir / "mapped.safetensors")
    webui.post("/probe/publish", {"name": "mapped"})
    webui.txt2img("red circle <lora:mapped:1>")
    assert webui.post("/probe/mapped", {"path": str(path)})["mapped"]
    webui.post("/probe/release", {"name": "mapped"})
    assert not webui.post("/probe/mapped", {"path": str(path)})["mapped"]
    path.write_bytes(b"")  # would end the server with a bus error
    webui.txt2img("red circle")
