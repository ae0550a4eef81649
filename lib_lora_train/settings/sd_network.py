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
    "networks.oft": "OFT",
    "locon.locon_kohya": "LoRA",
}
_ALGORITHMS = {
    "lora": "LoRA",
    "locon": "LoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "ia3": "IA3",
    "dylora": "DyLoRA",
    "full": "Full",
    "glora": "GLoRA",
    "diag-oft": "Diag-OFT",
    "boft": "BOFT",
}
_RENAMED = {"dropout": "network_dropout", "use_cp": "use_tucker", "unit": "block_size"}
_LYCORIS = "lycoris"


def read(module: str, args: Mapping[str, Any], options: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """(our fields, what is lost as `name = value`); a type we lack is lost, its ranks are taken.

    `options` are the other options, for what the arguments fall back to.
    """
    args = {str(name).strip(): str(value).strip() for name, value in args.items() if value is not None}
    lycoris = module.split(".")[0] == _LYCORIS
    algorithm = args.pop("algo", "lora").lower()
    kind = _ALGORITHMS.get(algorithm) if lycoris else _MODULES.get(module)
    if kind is None:
        return {}, [shown("network_args algo" if lycoris else "network_module", algorithm if lycoris else module)]
    found, lost = _convolutions(args, lycoris, options)
    known = {"network_type": "LoCon" if kind == "LoRA" and "conv_dim" in found else kind} | found
    for name, text in args.items():
        _argument(name, text, options, known, lost)
    return known, lost


def _convolutions(args: dict[str, str], lycoris: bool, options: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Ranks of convolutions. LyCORIS trains them always, with the linear layers' rank where none is given;
    sd-scripts only with a rank, whose alpha is 1 then."""
    dim, alpha = args.pop("conv_dim", "0"), args.pop("conv_alpha", "")
    none = dim in ("0", "0.0", *NOTHING)
    if none and not (lycoris and "network_dim" in options):
        return {}, []
    found: dict[str, Any] = {"conv_dim": options["network_dim"] if none else dim}
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
        if not is_off(name, text):
            lost.append(shown(f"network_args {name}", text))
        return
    try:
        known[ours.field] = ours.read(text)
    except (ValueError, KeyError, OverflowError):
        lost.append(shown(f"network_args {name}", text))
