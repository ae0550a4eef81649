"""The LoRA file: kohya's hashes, what other readers see, and what foreign or broken files do."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import golden_data
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lib_lora_train.errors import ExportError
from lib_lora_train.export import folder, lora_file

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy

HASHES = golden_data.facts("07_format")["hashes"]


@pytest.mark.golden
@pytest.mark.parametrize("case", [c for c in HASHES if c["file"]], ids=lambda c: c["file"])
def test_hashes_are_kohyas(case, tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = load_file(golden_data.path(case["file"]))
    complete = lora_file.save(path, tensors, case["metadata_given"])
    assert complete["sshs_model_hash"] == case["sshs_model_hash"]
    assert complete["sshs_legacy_hash"] == case["sshs_legacy_hash"]
    assert lora_file.read_metadata(path) == complete == lora_file.read_metadata(golden_data.path(case["file"]))
    assert lora_file.model_hash(path) == lora_file.model_hash(golden_data.path(case["file"])) == case["sshs_model_hash"]


@pytest.mark.golden
@pytest.mark.parametrize("case", [c for c in HASHES if c["file"] is None])
def test_the_legacy_hash_of_a_large_file_is_kohyas(case, tmp_path):
    length, divisor = map(int, re.search(r"with (\d+) elements, element i = i mod (\d+)", case["tensors"]).groups())
    tensors = {"w": (torch.arange(length) % divisor).float()}
    complete = lora_file.save(tmp_path / "x.safetensors", tensors, case["metadata_given"])
    assert complete["sshs_legacy_hash"] == case["sshs_legacy_hash"]
    assert complete["sshs_model_hash"] == case["sshs_model_hash"]


def _tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "lora_unet_a.alpha": torch.tensor(4.0, dtype=torch.float16),
        "lora_unet_a.lora_down.weight": torch.randn(4, 6, generator=generator).bfloat16(),
        "lora_unet_a.lora_up.weight": torch.randn(6, 8, generator=generator).T,  # not contiguous
    }


def test_the_safetensors_library_reads_what_was_saved(tmp_path):
    path, tensors = tmp_path / "x.safetensors", _tensors()
    complete = lora_file.save(path, tensors, {"ss_tag_frequency": '{"1_猫": {"\\"": 1}}', "other": "ü\n🐈"})
    with safe_open(str(path), framework="pt") as file:
        assert file.metadata() == complete
        assert set(file.keys()) == set(tensors) == set(lora_file.read_keys(path))
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor) and file.get_tensor(name).dtype == tensor.dtype
    # what the web UI's own reader insists on
    assert path.read_bytes()[8:10] == b'{"'


def test_equal_content_gives_equal_bytes(tmp_path):
    metadata = {f"ss_{i}": str(i) for i in range(50)}
    for name in "ab":
        lora_file.save(tmp_path / name, _tensors(), dict(sorted(metadata.items(), key=lambda kv: hash(kv[0] + name))))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_undecodable_file_names_in_metadata_do_not_stop_the_save(tmp_path):
    lora_file.save(tmp_path / "x", _tensors(), {"ss_dataset_dirs": "caf\udce9"})
    assert lora_file.read_metadata(tmp_path / "x")["ss_dataset_dirs"] == "caf?"


def test_a_copy_changes_metadata_only(tmp_path):
    old, new = tmp_path / "a.safetensors", tmp_path / "sub" / "b.safetensors"
    lora_file.save(old, _tensors(), {"ss_output_name": "a", "ss_x": "1"})
    lora_file.copy(old, new, {"ss_output_name": "a much longer name"})
    before, after = lora_file.read_header(old), lora_file.read_header(new)
    assert after.metadata == before.metadata | {"ss_output_name": "a much longer name"}
    assert after.tensors == before.tensors
    assert lora_file.model_hash(new) == before.metadata["sshs_model_hash"]
    assert all(torch.equal(load_file(new)[name], tensor) for name, tensor in load_file(old).items())
    lora_file.copy(old, tmp_path / "c", {})
    assert (tmp_path / "c").read_bytes() == old.read_bytes()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    lora_file.save(path, _tensors(), {"ss_x": "old"})
    before = path.read_bytes()

    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(ExportError) as caught:
        lora_file.save(path, {"w": torch.zeros(100)}, {})
    assert str(path) in caught.value.message and "disk is full" in caught.value.remedy
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ExportError, match="x.safetensors"):
            lora_file.save(tmp_path / "x.safetensors", _tensors(), {})
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "sub").write_text("a file")
    with pytest.raises(ExportError, match="x.safetensors"):
        lora_file.save(tmp_path / "sub" / "x.safetensors", _tensors(), {})


def test_the_longest_name_can_be_written(tmp_path):
    name = "🐈" * 60 + ".safetensors"  # 252 bytes, the file system takes 255
    lora_file.save(tmp_path / name, _tensors(), {})
    assert [p.name for p in tmp_path.iterdir()] == [name]


def _header(entries: object, data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BROKEN = {
    "empty": b"",
    "seven bytes": b"1234567",
    "zip (pickle)": b"PK\x03\x04" + b"\x00" * 500,
    "pickle": b"\x80\x02}q\x00." + b"x" * 100,
    "length of 2^63": b"\xff" * 8 + b"{}",
    "header cut": _header({"w": F32}, b"\0" * 8)[:20],
    "tensors cut": _header({"w": F32}, b"\0" * 7),
    "no JSON": (10).to_bytes(8, "little") + b"abcdefghij" + b"\0" * 50,
    "no UTF-8": (4).to_bytes(8, "little") + b'"\xff\xfe"' + b"\0" * 50,
    "a list": _header([1, 2]),
    "deep": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "no offsets": _header({"w": {"dtype": "F32", "shape": [2]}}),
    "offsets reversed": _header({"w": {**F32, "data_offsets": [8, 0]}}, b"\0" * 8),
    "negative shape": _header({"w": {**F32, "shape": [-1]}}, b"\0" * 8),
    "entry is text": _header({"w": "x"}),
    "shape is text": _header({"w": {**F32, "shape": "ab"}}, b"\0" * 8),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_named_and_left_alone(content, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    for read in (lora_file.read_metadata, lora_file.read_keys, lora_file.model_hash):
        with pytest.raises(ExportError, match="broken.safetensors") as caught:
            read(path)
        assert caught.value.remedy
    assert path.read_bytes() == content and len(list(tmp_path.iterdir())) == 1


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "gone.safetensors", tmp_path):
        with pytest.raises(ExportError, match=path.name):
            lora_file.read_metadata(path)


@patient
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    try:
        assert isinstance(lora_file.read_metadata(path), dict)
    except ExportError:
        pass


def test_metadata_that_is_no_text_becomes_text(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(_header({"__metadata__": {"a": 1, "b": None, "c": "c", "d": {"e": [1]}}}))
    assert lora_file.read_metadata(path) == {"a": "1", "b": "null", "c": "c", "d": '{"e": [1]}'}
    path.write_bytes(_header({"__metadata__": "no table"}))
    assert lora_file.read_metadata(path) == {}


def test_a_file_of_the_library_without_metadata_is_read(tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "x.safetensors")
    header = lora_file.read_header(tmp_path / "x.safetensors")
    assert header.metadata == {} and header.tensors["w"].shape == (3,) and header.tensors["w"].dtype == "F32"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, 9999])
def test_refusals_of_the_file_system_name_the_file_and_a_remedy(code):
    with pytest.raises(ExportError) as caught, folder.explained(Path("some/x.safetensors")):
        raise OSError(code, "refused")
    assert "x.safetensors" in caught.value.message and "refused" in caught.value.message and caught.value.remedy
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == code
