"""The card's picture: small, marked as ours, one only, and the user's own is safe."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.errors import ExportError
from lib_lora_train.export import thumbnail

ART = Path(__file__).parents[1] / "preview" / "card-art.png"
RED = Image.new("RGB", (1024, 768), (200, 0, 0))


@pytest.mark.parametrize("size, small", [((1024, 768), (512, 384)), ((512, 768), (341, 512)), ((64, 48), (64, 48))])
def test_a_picture_is_made_small_and_ours(size, small, tmp_path):
    path = tmp_path / "x.png"
    assert thumbnail.write(path, Image.new("RGB", size, (9, 8, 7))) is None
    with Image.open(path) as image:
        assert image.size == small and image.format == "PNG" and image.getpixel((0, 0)) == (9, 8, 7)
    assert thumbnail.is_ours(path)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "I;16"])
def test_any_kind_of_picture_is_taken(mode, tmp_path):
    thumbnail.write(tmp_path / "x.png", Image.new(mode, (20, 10)))
    assert Image.open(tmp_path / "x.png").mode == "RGB"


def test_ours_is_replaced(tmp_path):
    path = tmp_path / "x.png"
    thumbnail.write(path, RED)
    thumbnail.write(path, Image.new("RGB", (8, 8), (0, 0, 200)))
    assert Image.open(path).getpixel((0, 0)) == (0, 0, 200) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["x.png", "x.preview.png", "x.jpg", "x.jpeg", "x.preview.webp", "x.gif"])
def test_the_users_picture_stays_and_is_the_only_one(name, tmp_path):
    path, own = tmp_path / "x.png", tmp_path / name
    if own != path:
        thumbnail.write(path, RED)
    own.write_bytes(b"the user's own bytes")
    assert thumbnail.write(path, RED) == own
    assert own.read_bytes() == b"the user's own bytes" and list(tmp_path.iterdir()) == [own]


def test_another_loras_picture_does_not_count(tmp_path):
    (tmp_path / "x2.png").write_bytes(b"other")
    (tmp_path / "x.v2.png").write_bytes(b"other")
    assert thumbnail.write(tmp_path / "x.png", RED) is None
    thumbnail.write(tmp_path / "x.v2.5.png", RED)
    assert thumbnail.users_picture(tmp_path / "x.v2.5.png") is None


def test_a_generated_picture_that_the_user_chose_is_the_users(tmp_path):
    """The web UI saves "replace preview" as PNG with generation parameters."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", "sks cat\nSteps: 20")
    RED.save(tmp_path / "x.png", pnginfo=info)
    assert thumbnail.write(tmp_path / "x.png", RED) == tmp_path / "x.png"


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ExportError, match="x.png"):
        thumbnail.write(tmp_path / "f" / "x.png", RED)


@pytest.mark.parametrize("name", ["my_lora", "a", "🐈", "ねこ cat", "x" * 100, "many words in a long name " * 4, "é\n"])
def test_card_art_bears_the_name(name):
    image, plain = thumbnail.card_art(ART, name), Image.open(ART).convert("RGB")
    assert image.size == (512, 768) == plain.size
    latin = any(c.isalnum() and ord(c) < 256 for c in name)
    assert (image.tobytes() != plain.tobytes()) == latin
    assert image.crop((0, 0, 512, 500)).tobytes() == plain.crop((0, 0, 512, 500)).tobytes()


def test_the_drawing_is_small():
    assert ART.stat().st_size < 100_000


def test_a_missing_drawing_is_named(tmp_path):
    with pytest.raises(ExportError, match="art.png"):
        thumbnail.card_art(tmp_path / "art.png", "x")
