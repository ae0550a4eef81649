"""The card's picture `<name>.png` beside a LoRA: ours is marked, the user's own is never replaced."""

from __future__ import annotations

import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError

from .folder import explained, written

LONGEST_SIDE = 512  # pixels
MARK = "train-lora"  # name of the PNG text chunk that says a picture is ours
_EXTENSIONS = ("png", "jpg", "jpeg", "webp", "gif")  # what the web UIs show


def write(path: Path, image: Image.Image) -> Path | None:
    """Writes `image`, at most 512 pixels long, as the preview `path` (`<name>.png`).

    When the user has a picture of his own for this LoRA, that one stays, ours goes, and its path is returned. So there
    is always exactly one. Raises ExportError when the file cannot be written.
    """
    with explained(path):
        own = users_picture(path)
        if own is not None:
            if own != path and is_ours(path):
                path.unlink()
            return own
        small = image.convert("RGB")
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        mark = PngImagePlugin.PngInfo()
        mark.add_text(MARK, "thumbnail")
        with written(path) as beside:
            small.save(beside, format="PNG", pnginfo=mark, optimize=True)
    return None


def users_picture(path: Path) -> Path | None:
    """The user's own preview of the LoRA whose thumbnail is `path`, None when there is none."""
    stem = path.name.removesuffix(".png")
    names = [f"{stem}{middle}.{extension}" for extension in _EXTENSIONS for middle in ("", ".preview")]
    found = (path.with_name(name) for name in names)
    return next((file for file in found if file.is_file() and not is_ours(file)), None)


def is_ours(path: Path) -> bool:
    """Whether `path` is a PNG with our mark; an unreadable one is not."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return MARK in image.info
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def card_art(art: Path, name: str) -> Image.Image:
    """The picture of a LoRA without one: the drawing at `art` with `name` written on its lower part.

    Raises ExportError when the drawing is missing or damaged.
    """
    with explained(art, "read"), Image.open(art) as drawing:
        image = drawing.convert("RGB")
    text = _label(name, image.width * 7 // 8, image.height // 5)
    if text is not None:
        image.paste((255, 255, 255), ((image.width - text.width) // 2, image.height * 4 // 5 - text.height // 2), text)
    return image


def _label(name: str, width: int, height: int) -> Image.Image | None:
    """A mask with `name`, scaled to fit; Pillow's own font knows Latin letters only, others are left out."""
    latin = " ".join(name.encode("latin-1", "ignore").decode("latin-1").replace("_", " ").split())
    if not latin:
        return None
    text, font = "\n".join(textwrap.wrap(latin, 18, max_lines=3, placeholder="...")), _font()
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=font, align="center")
    mask = Image.new("L", (int(box[2]) + 2, int(box[3]) + 2))
    ImageDraw.Draw(mask).multiline_text((1, 1), text, fill=255, font=font, align="center")
    scale = min(width / mask.width, height / mask.height)
    return mask.resize((max(1, int(mask.width * scale)), max(1, int(mask.height * scale))), Image.Resampling.BICUBIC)


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size=96)
    except (TypeError, ImportError):  # Pillow before 10.1, or built without FreeType: one small bitmap font
        return ImageFont.load_default()
