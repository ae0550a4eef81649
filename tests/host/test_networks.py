"""What a web UI's own loader makes of a file of each kind is what our attached adapters compute."""

from __future__ import annotations

import pytest
from harness import WebUI

pytestmark = pytest.mark.host
SMALL = {"network_dim": 4, "network_alpha": 2, "conv_dim": 2, "conv_alpha": 1}
DORA = {"weight_decompose": True}
NETWORKS = {
    "LoRA": {"network_type": "LoRA"},
    "LoCon": {"network_type": "LoCon"},
    "LoCon full": {"network_type": "LoCon", "network_preset": "full"},
    "LoCon tucker": {"network_type": "LoCon", "use_tucker": True},
    "LoCon DoRA": {"network_type": "LoCon", **DORA},
    "LoHa": {"network_type": "LoHa"},
    "LoHa tucker": {"network_type": "LoHa", "use_tucker": True},
    "LoHa DoRA": {"network_type": "LoHa", **DORA},
    "LoKr": {"network_type": "LoKr", "network_dim": 1, "conv_dim": 1},
    "LoKr both": {"network_type": "LoKr", "network_dim": 1, "factor": 8, "decompose_both": True},
    "LoKr full": {"network_type": "LoKr", "factor": 4, "full_matrix": True},
    "LoKr DoRA": {"network_type": "LoKr", **DORA},
    "DyLoRA": {"network_type": "DyLoRA", "dylora_unit": 2},
    "GLoRA": {"network_type": "GLoRA", "network_alpha": 4},
    "full": {"network_type": "full"},
    "norms": {"network_type": "LoRA", "train_norm": True},
    "blocks": {"network_type": "LoCon", "block_dims": ",".join(str(i % 5 + 1) for i in range(25))},
    "IA3": {"network_type": "IA3"},
    "OFT": {"network_type": "OFT", "network_preset": "attn-conv"},
    "OFT limit": {"network_type": "OFT", "constraint": 1e-3},
    "BOFT": {"network_type": "BOFT", "network_dim": 20},
}
NOT_APPLIED = {  # as docs/networks.md says
    "forge": ("IA3", "OFT", "OFT limit", "BOFT"),
    "neo": ("IA3", "OFT limit"),  # the limit is read in another measure
    "reforge": ("IA3", "OFT limit"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_applied_is_what_was_trained(webui: WebUI, name: str):
    compare_with_the_hosts_loader(webui, name)


def compare_with_the_hosts_loader(webui: WebUI, name: str) -> None:
    alias = name.replace(" ", "_")
    path = webui.lora_dir / f"{alias}.safetensors"
    webui.txt2img("red circle", steps=1)
    made = webui.post("/probe/make_network", {"path": str(path), "size": 0.3, "options": {**SMALL, **NETWORKS[name]}})
    webui.post("/probe/publish", {"name": alias})
    webui.txt2img(f"red circle <lora:{alias}:1>", steps=1)
    found = webui.post("/probe/compare_network", {"path": str(path)})
    print(name, made, found)
    kind = webui.spec.kind
    fp16 = kind.line != "a1111"  # merged into half precision, which is rounded
    for part in ("text", "unet"):
        assert found[part]["change"] > 1e-3
        if name in NOT_APPLIED.get(kind.name, ()):
            assert found[part]["from_plain"] < 0.03
        else:
            assert found[part]["apart"] < (0.03 if fp16 else 1e-3)
