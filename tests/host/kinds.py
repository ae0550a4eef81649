"""What tests must know of each kind of web UI in order to ask the same of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Way:
    """One more way to start a web UI. `stored`: the type of the U-Net's weights, `shown` how the page calls it, `apart`
    by how much outputs may differ from the host's."""

    name: str
    flags: tuple[str, ...]
    without: tuple[str, ...] = ()  # flags of WEBUI_ARGS that say the contrary
    stored: str = "float32"
    shown: str = "fp32"
    apart: float = 1e-5


@dataclass(frozen=True)
class Kind:
    name: str
    line: str  # tests named after it (`test_forge_...`) are for this kind too
    title: str  # how it calls itself, begins so
    loads_at_once: bool  # a chosen checkpoint; else with the next picture
    lora_extension: str
    chooser: str  # of checkpoints, on the page
    ways: tuple[Way, ...]
    unloads_merged: bool = True  # models that it unloads keep their merged LoRAs
    restores_vae: bool = True  # the checkpoint's own, when another one is taken off again


_FULL = ("--no-half", "--no-half-vae")
_FP8 = ("float8_e4m3fn", "fp8 e4m3fn")
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "a1111",
            "a1111",
            "A1111 1.",
            loads_at_once=True,
            lora_extension="Lora",
            chooser="#setting_sd_model_checkpoint",
            ways=(
                Way("little memory", ("--medvram",)),
                Way("least memory", ("--lowvram",)),
                Way("half precision", ("--precision", "half"), _FULL, "float16", "fp16", 5e-3),
            ),
        ),
        Kind(
            "forge",
            "forge",
            "Forge ",
            loads_at_once=False,
            lora_extension="sd_forge_lora",
            chooser=".model_selection",
            ways=(
                Way(
                    "half precision", ("--unet-in-fp16", "--vae-in-bf16"), (), "float16", "fp16, VAE bf16", 6e-2
                ),  # bf16 has eight bits
                Way("bf16", ("--unet-in-bf16",), (), "bfloat16", "bf16", 6e-2),
                Way("fp8", ("--unet-in-fp8-e4m3fn",), (), *_FP8),
            ),
        ),
        Kind(
            "neo",
            "forge",
            "Forge ",
            loads_at_once=False,
            lora_extension="sd_forge_lora",
            chooser=".model_selection",
            ways=(Way("fp8", ("--fp8_e4m3fn-unet",), (), *_FP8),),
            unloads_merged=False,
        ),
        Kind(
            "reforge",
            "reforge",
            "reForge ",
            loads_at_once=True,
            lora_extension="Lora",
            chooser="#setting_sd_model_checkpoint",
            ways=(
                Way("half precision", ("--unet-in-fp16",), (), "float16", "fp16", 6e-2),
                Way("bf16", ("--unet-in-bf16",), (), "bfloat16", "bf16", 6e-2),
                Way("fp8", ("--unet-in-fp8-e4m3fn",), (), *_FP8),
            ),
            restores_vae=False,  # not when a picture was drawn before
        ),
    )
}


def kind_of(folder: Path) -> Kind:
    """By what is in a web UI's folder."""
    if not (folder / "backend").is_dir():
        return KINDS["reforge" if (folder / "ldm_patched").is_dir() else "a1111"]
    return KINDS["forge" if (folder / "modules" / "sd_hijack.py").is_file() else "neo"]


def ways(folder: str = "") -> list:
    """Those of the web UI in `folder`, for a test's parameters; one that says what is missing when there is none."""
    found = kind_of(Path(folder)).ways if folder else ()
    return [pytest.param(way, id=way.name) for way in found] or [pytest.param(None, id="no web UI")]
