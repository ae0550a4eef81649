"""The report of a LoRA file."""

from __future__ import annotations

import golden_data
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib_lora_train.errors import ExportError
from lib_lora_train.export import lora_file
from lib_lora_train.tools.inspect import inspect, text


@pytest.mark.golden
def test_a_file_of_the_reference():
    report = inspect(golden_data.path("07_sample_lora.safetensors"))
    assert report.kind == "LoRA" and report.parts == {"text_encoder": 18, "unet": 192}
    assert report.ranks == {2: 210} and report.conv_ranks == {} and report.alphas == {1.0: 210}
    assert report.dtypes == {"F32": 630} and report.hash_ok is True and report.recipe.source == "other"
    shown = text(report)
    assert "192 in unet" in shown and "tiny_base_model.safetensors" in shown and "20 steps" in shown


def test_changed_tensors_are_found_out(tmp_path):
    path = tmp_path / "x.safetensors"
    complete = lora_file.save(path, {"w": torch.zeros(3)}, {})
    assert inspect(path).hash_ok is True
    save_file({"w": torch.ones(3)}, path, metadata=complete)
    assert inspect(path).hash_ok is False and "WRONG" in text(inspect(path))
    save_file(load_file(path), path)
    assert inspect(path).hash_ok is None


def _module(name: str, down: tuple[int, ...], alpha: float, dtype=torch.float16) -> dict[str, torch.Tensor]:
    return {
        f"{name}.lora_down.weight": torch.zeros(down, dtype=dtype),
        f"{name}.lora_up.weight": torch.zeros(8, down[0], dtype=dtype),
        f"{name}.alpha": torch.tensor(alpha, dtype=dtype),
    }


def test_ranks_and_alphas_are_counted_apart(tmp_path):
    tensors = {
        **_module("lora_unet_a", (4, 8), 2),
        **_module("lora_unet_b", (16, 8, 1, 1), 2),
        **_module("lora_unet_c", (3, 8, 3, 3), 1, torch.bfloat16),
        **_module("lora_te1_a", (4, 8), 0.5),
        **_module("lora_te2_a", (4, 8), 0.5),
    }
    lora_file.save(tmp_path / "x.safetensors", tensors, {})
    report = inspect(tmp_path / "x.safetensors")
    assert report.kind == "LoCon" and report.parts == {"text_encoder_1": 1, "text_encoder_2": 1, "unet": 3}
    assert report.ranks == {4: 3, 16: 1} and report.conv_ranks == {3: 1}
    assert report.alphas == {0.5: 2, 1.0: 1, 2.0: 2} and report.dtypes == {"BF16": 3, "F16": 12}
    assert "4 (x3), 16 (x1)" in text(report)


@pytest.mark.parametrize("suffixes, kind", [
    (("hada_w1_a", "hada_w1_b", "alpha"), "LoHa"), (("lokr_w1", "lokr_w2_a"), "LoKr"), (("on_input", "weight"), "IA3"),
    (("lora_down.weight", "lora_up.weight", "dora_scale"), "LoRA (DoRA)"), (("something",), "no LoRA"),
    (("lora_A.weight", "lora_B.weight"), "LoRA"), (("diff", "diff_b"), "full"), (("w_norm", "b_norm"), "norm"),
    (("a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha"), "GLoRA"), (("oft_blocks", "rescale"), "OFT"),
])  # fmt: skip
def test_kinds(suffixes, kind, tmp_path):
    save_file({f"diffusion_model.a.b.{s}": torch.zeros(2, 2) for s in suffixes}, tmp_path / "x.safetensors")
    report = inspect(tmp_path / "x.safetensors")
    assert report.kind == kind and sum(report.parts.values()) == 1


def test_foreign_text_cannot_steer_the_terminal(tmp_path):
    save_file(
        {"w": torch.zeros(1)},
        tmp_path / "x.safetensors",
        {"ss_sd_model_name": "\x1b[2J\nfake row", "ss_steps": "9" * 5000},
    )
    shown = text(inspect(tmp_path / "x.safetensors"))
    assert "\x1b" not in shown and "\\x1b[2J\\nfake row" in shown and len(shown) < 5000


def test_what_is_no_lora_file_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"PK\x03\x04" * 50)
    with pytest.raises(ExportError, match="x.safetensors"):
        inspect(path)
    assert path.exists()


def test_odd_alphas_and_dtypes_do_not_break_the_report(tmp_path):
    header = b'{"a.alpha":{"dtype":"F99","shape":[],"data_offsets":[0,4]}}'
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ExportError, match="x.safetensors"):
        inspect(tmp_path / "x.safetensors")
    save_file({"a.alpha": torch.zeros(3), "b.alpha": torch.tensor([7])}, tmp_path / "y.safetensors")
    assert inspect(tmp_path / "y.safetensors").alphas == {7.0: 1}
