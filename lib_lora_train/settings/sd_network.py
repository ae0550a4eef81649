"""Networks as sd-scripts and LyCORIS name them: module, algorithm and arguments as our type, ranks and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .found import shown
from .schema import groups
from .sd_options import NOTHING, is_off, option

# Module, or LyCORIS algorithm: our type. One that we lack is refused by the schema and thereby listed as lost.
_MODULES = {
    "networks.lora": "LoRA",
    "networks.dylora": "DyLoRA",
    "networks.loha": "LoHa",
    "networks.lokr": "LoKr",
    "networks.lora_fa": "LoRA-FA",
    "networks.oft": "OFT of sd-scripts",
}
_ALGORITHMS = {
    "lora": "LoRA",
    "locon": "LoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "ia3": "IA3",
    "dylora": "DyLoRA",
    "full": "full",
    "glora": "GLoRA",
    "diag-oft": "OFT",
    "boft": "BOFT",
}
_LYCORIS = ("lycoris", "locon")
# Arguments that are called otherwise here.
_RENAMED = {
    "dropout": "network_dropout", "use_cp": "use_tucker", "use_conv_cp": "use_tucker", "dora_wd": "weight_decompose",
    "unit": "dylora_unit", "block_size": "dylora_unit", "preset": "network_preset",
}  # fmt: skip
_PRESETS = {
    "unet-only": "full", "unet-transformer-only": "attn-mlp", "unet-convblock-only": "convblock-only", "ia3": "auto",
}  # fmt: skip
# What LyCORIS and sd-scripts do where an argument is left out and we would do otherwise.
_SILENT: dict[str, dict[str, str]] = {"networks.dylora": {"unit": "1"}}
_SILENT_LYCORIS = {"preset": "full"}
_OUTPUT_AXIS = "DoRA's lengths are taken along the inputs here, as the hosts read them"


def read(module: str, args: Mapping[str, Any], options: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """(our fields, what is lost as `name = value`); a type we lack is lost, its ranks are taken.

    `options` are the other options, for what the arguments fall back to.
    """
    given = {str(name).strip(): str(value).strip() for name, value in args.items() if value is not None}
    lycoris = module.split(".")[0] in _LYCORIS
    algorithm = given.pop("algo", "lora").lower()
    kind = _ALGORITHMS.get(algorithm) if lycoris else _MODULES.get(module)
    if kind is None:
        return {}, [shown("network_args algo" if lycoris else "network_module", algorithm if lycoris else module)]
    given = (_SILENT_LYCORIS if lycoris and kind != "IA3" else _SILENT.get(module, {})) | given
    found, lost = _convolutions(given, lycoris, options)
    known = {"network_type": "LoCon" if kind == "LoRA" and "conv_dim" in found else kind} | found
    for name, text in given.items():
        _argument(name, text, options, known, lost)
    if given.get("preset", "").startswith("unet"):
        known["train_text_encoder"] = False
    if known.get("weight_decompose") and given.get("wd_on_output", "True").lower() == "true":
        lost.append(shown("network_args wd_on_output", "True", _OUTPUT_AXIS))
    return known, lost


def _convolutions(args: dict[str, str], lycoris: bool, options: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Ranks of convolutions. LyCORIS trains them always, with the linear layers' rank where none is given;
    sd-scripts only with a rank, whose alpha is 1 then."""
    dim, alpha = args.pop("conv_dim", "0"), args.pop("conv_alpha", "")
    none = dim in ("0", "0.0", *NOTHING)
    if none and not (lycoris and "network_dim" in options):
        return {}, []
    found = {"conv_dim": options["network_dim"] if none else dim}
    if lycoris and alpha in ("0", "0.0", *NOTHING):
        alpha = options.get("network_alpha", "")
    found["conv_alpha"] = "1.0" if alpha in NOTHING else alpha
    return _numbers(found)


def _numbers(texts: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    found, lost = {}, []
    for name, text in texts.items():
        try:
            found[name] = option(name).read(text)
        except (ValueError, KeyError, OverflowError):
            lost.append(shown(f"network_args {name}", text))
    return found, lost


def _argument(name: str, text: str, options: Mapping[str, str], known: dict[str, Any], lost: list[str]) -> None:
    """An argument that is called as an option of ours is that option."""
    field = _RENAMED.get(name, name)
    if name == "dropout" and options.get("network_dropout", "None") not in NOTHING:
        return  # said there too
    ours = option(field) if field in groups()["network"].__struct_fields__ else None
    if ours is None:
        if not is_off(name, text) and name != "wd_on_output":
            lost.append(shown(f"network_args {name}", text))
        return
    if text in NOTHING:
        return
    try:
        known[ours.field] = ours.read(_PRESETS.get(text, text) if field == "network_preset" else text)
    except (ValueError, KeyError, OverflowError):
        lost.append(shown(f"network_args {name}", text))
