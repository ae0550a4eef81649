"""Pictures of every kind become the right pixels; broken ones say why."""

from __future__ import annotations

import io
import zlib

import golden_data
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

from lib_lora_train.data import images
from lib_lora_train.data.buckets import cover
from lib_lora_train.data.types import Fit
from lib_lora_train.errors import DataError, SettingsError


def saved(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def gradient(width, height):
    """Red grows to the right, green downwards, blue is noise-free 128."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.full_like(x, 128)], -1).round().astype(np.uint8)


def golden_cases():
    return [c for c in golden_data.facts("02_resize")["cases"] if not c["resize_interpolation"]]


@pytest.mark.golden
@pytest.mark.parametrize("case", golden_cases(), ids=lambda c: f"{c['image_wh']} -> {c['resized']}")
def test_resizing_within_two_grey_levels_of_the_reference(case):
    tensors = load_file(golden_data.path("02_resize.safetensors"))
    name = str(case["case"])
    fit = cover(tuple(case["image_wh"]), tuple(case["bucket"]))
    assert fit.resized == tuple(case["resized"])
    got = images.fitted(tensors[f"{name}/image_hwc_uint8"], fit)
    want = torch.from_numpy(tensors[f"{name}/as_tensor"])
    assert got.shape == want.shape and got.dtype == torch.float32
    assert (got - want).abs().max() <= 2 / 127.5 + 1e-6


def test_only_the_kept_part_is_computed_yet_equals_resizing_everything():
    pixels = gradient(333, 251)
    for fit in (cover((333, 251), (64, 64)), cover((333, 251), (512, 320))):
        whole = images.fitted(pixels, Fit(fit.resized, fit.resized, (0, 0)))
        left, top = fit.crop
        part = whole[:, top : top + fit.bucket[1], left : left + fit.bucket[0]]
        assert (images.fitted(pixels, fit) - part).abs().max() <= 1.01 / 127.5


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 8), st.integers(1, 8))
def test_any_size_fits_and_plain_colour_stays_plain(width, height, w, h):
    pixels = np.full((height, width, 3), 77, np.uint8)
    got = images.fitted(pixels, cover((width, height), (8 * w, 8 * h)))
    assert got.shape == (3, 8 * h, 8 * w)
    assert torch.allclose(got, torch.tensor(77 / 127.5 - 1), atol=1.01 / 127.5)


def test_a_very_long_strip_needs_no_memory():
    fit = cover((20000, 2), (1024, 256))
    assert fit.resized[0] > 2_000_000
    assert images.fitted(np.zeros((2, 20000, 3), np.uint8), fit).shape == (3, 256, 1024)


def test_area_keeps_the_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (97, 131, 3), np.uint8)
    got = images.fitted(pixels, Fit((40, 24), (40, 24), (0, 0)))
    assert abs((got.double().mean() + 1) * 127.5 - pixels.mean()) < 0.1


KINDS = {"PNG": "RGB L 1 P", "JPEG": "RGB L CMYK", "WEBP": "RGB L P", "BMP": "RGB L 1 P"}


@pytest.mark.parametrize(("format", "mode"), [(f, mode) for f, modes in KINDS.items() for mode in modes.split()])
def test_modes_and_formats(format, mode):
    image = Image.new("RGB", (32, 24), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 16, 24))
    got = images.decode(saved(image.convert(mode), format))
    assert got.shape == (24, 32, 3) and got.dtype == np.uint8
    assert got[:, :12].max() < 30 and got[:, 20:].min() > 225


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(1, 64).repeat(4, 0)
    got = images.decode(saved(Image.fromarray(values)))
    assert np.abs(got[0, :, 0].astype(int) - (values[0] // 257)).max() <= 1
    assert len(np.unique(got)) > 50


def transparent(mode):
    if mode in ("RGBA", "LA"):
        image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
        image.paste((0, 0, 0, 255), (0, 0, 4, 8))
        return saved(image.convert(mode))
    image = Image.new(mode, (8, 8), 0)
    image.paste(1 if mode == "P" else (9, 9, 9), (4, 0, 8, 8))
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0])
    return saved(image, transparency=1 if mode == "P" else (9, 9, 9))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_shows_the_background(mode):
    got = images.decode(transparent(mode), "#10c020")
    assert got[0, 0].tolist() == [0, 0, 0]
    assert got[0, 7].tolist() == [0x10, 0xC0, 0x20]


def test_half_transparent_is_mixed():
    assert images.decode(saved(Image.new("RGBA", (4, 4), (0, 0, 0, 128))), "white")[0, 0, 0] == pytest.approx(
        127, abs=1
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_agrees_with_pillow_and_with_the_header(orientation, format):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(gradient(40, 24)), format, exif=exif)
    got = images.decode(data)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(got, want)
    assert images.upright_size(images.open_picture(io.BytesIO(data))) == got.shape[1::-1]


def test_rotation_behind_the_pixels_is_seen_by_neither_header_nor_decoder():
    """Reading it would mean decoding every picture of a folder; what counts is that both say the same."""
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes()[6:]
    block = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    data = saved(Image.fromarray(gradient(40, 24)))
    data = data[:-12] + block + data[-12:]
    assert images.decode(data).shape[1::-1] == images.upright_size(images.open_picture(io.BytesIO(data)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_obstacle():
    data = saved(Image.fromarray(gradient(40, 24)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\0\1")
    assert images.decode(data).shape == (24, 40, 3)


def broken():
    png = saved(Image.fromarray(gradient(64, 64)))
    jpg = saved(Image.fromarray(gradient(64, 64)), "JPEG")
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "blue")]
    huge = bytearray(saved(Image.new("1", (8, 8))))
    huge[16:24] = (40000).to_bytes(4, "big") + (40000).to_bytes(4, "big")
    huge[29:33] = zlib.crc32(bytes(huge[12:29])).to_bytes(4, "big")
    return {
        "empty": (b"", "picture"),
        "text": (b"<html>not found</html>", "picture"),
        "gif in disguise": (saved(frames[0], "GIF"), "picture"),
        "cut png": (png[: len(png) // 2], "decoded"),
        "cut jpg": (jpg[: len(jpg) // 2], "cannot be"),
        "header only": (png[:30], ""),
        "animated webp": (saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "animated"),
        "animated png": (saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), "animated"),
        "bomb": (bytes(huge), "megapixels"),
    }


@pytest.mark.parametrize("name", broken())
def test_broken_pictures_say_why(name):
    data, why = broken()[name]
    with pytest.raises(DataError) as caught:
        images.decode(data)
    assert why in caught.value.message


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_hundred_megapixels_are_fine():
    data = saved(Image.new("1", (10_000, 10_000)))
    assert images.upright_size(images.open_picture(io.BytesIO(data))) == (10_000, 10_000)


def test_unknown_colours_name_the_field():
    with pytest.raises(SettingsError) as caught:
        images.colour("transparentish")
    assert caught.value.field == "background"
