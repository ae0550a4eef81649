"""The cache on disk: what was put in comes out or nothing does, whatever happened to the files."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.data.fingerprint import FileDigests, of_tensors, of_vae
from lib_lora_train.data.store import Store, digest

KEY = digest("a")


def tensors(seed=0, n=64):
    return {"mean": torch.randn(4, n, generator=torch.Generator().manual_seed(seed)), "std": torch.ones(2)}


def files(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("on_disk", [True, False])
def test_round_trip(tmp_path, on_disk):
    folder = tmp_path if on_disk else None
    store = Store(folder, "x", 1)
    assert store.get(KEY) is None
    store.put(KEY, tensors())
    assert same(store.get(KEY), tensors())
    assert bool(files(tmp_path)) is on_disk
    assert (Store(folder, "x", 1).get(KEY) is not None) is on_disk
    assert Store(folder, "y", 1).get(KEY) is None


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory, where, flip):
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder, "x", 1)
    store.put(KEY, tensors(n=4))
    (file,) = files(folder)
    data = bytearray(file.read_bytes())
    data[int(where * len(data))] ^= flip
    file.write_bytes(data)
    assert store.get(KEY) is None and store.damaged == 1
    assert not files(folder)
    store.put(KEY, tensors())
    assert same(store.get(KEY), tensors())


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 4096])
def test_garbage_reads_as_absent(tmp_path, data):
    store = Store(tmp_path, "x", 1)
    store.put(KEY, tensors())
    (file,) = files(tmp_path)
    file.write_bytes(data)
    assert store.get(KEY) is None and store.damaged == 1


def test_truncated_and_swapped_entries_are_noticed(tmp_path):
    store, other = Store(tmp_path, "x", 1), digest("b")
    store.put(KEY, tensors(1))
    (file,) = files(tmp_path)
    store.put(other, tensors(2))
    (second,) = [f for f in files(tmp_path) if f != file]
    second.write_bytes(file.read_bytes())
    assert store.get(other) is None
    file.write_bytes(file.read_bytes()[:-100])
    assert store.get(KEY) is None
    assert store.damaged == 2


def test_a_folder_in_the_way_is_no_crash(tmp_path):
    store = Store(tmp_path, "x", 1)
    (tmp_path / "x" / KEY[:2] / f"{KEY}.cache").mkdir(parents=True)
    assert store.get(KEY) is None
    store.put(KEY, tensors())
    assert same(store.get(KEY), tensors()) and store.trouble


def test_what_cannot_be_written_stays_in_memory_and_says_why(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file", "x", 1)
    store.put(KEY, tensors())
    assert same(store.get(KEY), tensors()) and store.trouble
    store.trim()


def test_a_full_disk_leaves_no_half_entry(tmp_path, monkeypatch):
    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    store = Store(tmp_path, "x", 1)
    store.put(KEY, tensors())
    assert store.trouble == "No space left on device" and not files(tmp_path)
    assert same(store.get(KEY), tensors())


def aged(path, hours):
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_oldest_used_go_first_and_recently_used_stay(tmp_path):
    keys = [digest(i) for i in range(6)]
    for i, key in enumerate(keys):
        store = Store(tmp_path, ("latents", "texts")[i % 2], limit_gb=2.5 * 2000e-9)
        store.put(key, tensors(i, n=100))
        aged(store._path(key), 50 - i)
    Store(tmp_path, "latents", 1).get(keys[0])  # used now, so the youngest
    (tmp_path / "latents" / "aa").mkdir(exist_ok=True)
    leftover = tmp_path / "latents" / "aa" / ".half.tmp"
    leftover.write_bytes(b"x")
    aged(leftover, 60)
    store.trim()
    left = {path.stem for path in files(tmp_path)}
    assert left == {keys[0], keys[5]}  # two entries fit
    assert not leftover.exists()


def test_a_limit_of_nothing_spares_what_is_in_use(tmp_path):
    store = Store(tmp_path, "x", 0)
    store.put(KEY, tensors())
    store.trim()
    assert store.get(KEY) is not None
    aged(store._path(KEY), 2)
    store.trim()
    assert store.get(KEY) is None


def _write(folder, seed):
    store = Store(Path(folder), "x", 1)
    for i in range(20):
        store.put(digest(i), tensors(i))
        found = store.get(digest(i))
        assert found is not None and same(found, tensors(i))
    assert not store.damaged and not store.trouble


def test_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(str(tmp_path), seed)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(files(tmp_path)) == 20


def test_fingerprint_sees_values_shapes_types_and_names():
    base = {"a": torch.arange(1000.0), "b": torch.ones(3)}
    known = of_tensors(base.items())
    assert of_tensors(reversed(list(base.items()))) == known
    others = [
        {**base, "a": base["a"] + 1e-3},
        {**base, "a": base["a"].reshape(10, 100)},
        {**base, "b": base["b"].half()},
        {"a": base["a"], "c": base["b"]},
    ]
    assert len({known, *(of_tensors(other.items()) for other in others)}) == 5


def test_only_the_encoding_half_of_a_vae_counts():
    def vae(encoder, decoder):
        parts = {
            "encoder": torch.nn.Linear(2, 2),
            "decoder": torch.nn.Linear(2, 2),
            "quant_conv": torch.nn.Linear(1, 1),
        }
        made = torch.nn.ModuleDict(parts)
        torch.nn.init.constant_(made["encoder"].weight, encoder)
        torch.nn.init.constant_(made["decoder"].weight, decoder)
        for part in parts.values():
            torch.nn.init.zeros_(part.bias)
        torch.nn.init.ones_(made["quant_conv"].weight)
        return of_vae(made)

    assert vae(1, 1) == vae(1, 2) != vae(2, 1)


def test_files_are_read_again_only_when_changed(tmp_path, monkeypatch):
    file, memory = tmp_path / "a.png", tmp_path / "known" / "pictures.json"
    file.write_bytes(b"one")
    aged(file, 1)
    digests = FileDigests(memory)
    first = digests.of(file)
    digests.save()
    again = FileDigests(memory)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda self: pytest.fail("read again"))
        assert again.of(file) == first
    file.write_bytes(b"two")
    assert again.of(file) != first
    again.forget(file)
    assert again.of(file) != first
    memory.write_bytes(b"{damaged")
    assert FileDigests(memory).of(file) == again.of(file)


def test_a_file_written_this_moment_is_not_trusted_yet(tmp_path):
    """Same size, same time stamp, other content: happens on file systems with coarse times."""
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    stamp = file.stat().st_mtime_ns
    digests = FileDigests(None)
    first = digests.of(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(stamp, stamp))
    assert digests.of(file) != first
