"""State files: exact round trips, rotation, recovery from damage, nothing lost when a write fails."""

from __future__ import annotations

import errno

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib_lora_train.engine import optimizers, state
from lib_lora_train.engine.state import State
from lib_lora_train.errors import DataError, ExportError
from lib_lora_train.settings.schema import OptimizerSettings

CPU = torch.device("cpu")


def _some(step):
    return State({"a": torch.full((3,), float(step)), "b": torch.tensor(step)}, {"step": step, "rate": 0.1})


leaves = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
trees = st.recursive(
    leaves | st.integers(0, 5).map(lambda n: torch.arange(n, dtype=torch.float64) / 3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 9) | st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b and type(a) is type(b)


@given(trees)
def test_any_tree_comes_back(tmp_path_factory, tree):
    tree = {"x": tree, "a tensor": torch.zeros(1)}  # old safetensors cannot read a file without any
    folder = tmp_path_factory.mktemp("state")
    state.save(folder, 1, state.flatten(tree, "o"))
    back = state.unflatten(state.load(folder), "o")
    assert _same(_sorted(tree), _sorted(back))


def _sorted(tree):
    if isinstance(tree, dict):
        return {k: _sorted(tree[k]) for k in sorted(tree, key=str)}
    return [_sorted(i) for i in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("kind", sorted(optimizers.KINDS))
def test_an_optimizer_goes_on_exactly(tmp_path, kind):
    stands_in = optimizers.KINDS[kind].substitute or kind
    if optimizers.problem_on(kind, CPU) and optimizers.problem_on(stands_in, CPU):
        pytest.skip(optimizers.problem_on(stands_in, CPU))
    chosen = OptimizerSettings(optimizer_type=kind, learning_rate=1.0 if kind == "Prodigy" else 1e-3, text_encoder_lr=0)

    def fresh():
        generator = torch.Generator().manual_seed(1)
        params = [nn.Parameter(torch.randn(64, 80, generator=generator)), nn.Parameter(torch.zeros(5, 3))]
        return params, optimizers.build(chosen, {"unet": params}, CPU)

    def train(params, built, steps):
        for step in steps:
            for j, p in enumerate(params):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + j))
            built.set_rates(1.0 / (1 + step))
            built.optimizer.step()

    straight, built = fresh()
    train(straight, built, range(8))

    first, built = fresh()
    train(first, built, range(4))
    state.save(tmp_path, 4, state.flatten(built.optimizer.state_dict(), "optimizer"))
    second, built = fresh()
    for p, q in zip(second, first, strict=True):
        p.data.copy_(q.data)
    built.optimizer.load_state_dict(state.unflatten(state.load(tmp_path), "optimizer"))
    train(second, built, range(4, 8))
    assert all(torch.equal(p, q) for p, q in zip(straight, second, strict=True))


def test_two_are_kept_and_the_newest_is_read(tmp_path):
    for step in (5, 20, 100, 1000):
        state.save(tmp_path, step, _some(step))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["state-00000100.safetensors", "state-00001000.safetensors"]
    assert state.load(tmp_path).values["step"] == 1000 and state.exists(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_newest_falls_back_and_says_so(tmp_path, damage):
    state.save(tmp_path, 1, _some(1))
    path = state.save(tmp_path, 2, _some(2))
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[:-4], "flipped": data[:-1] + bytes([data[-1] ^ 1]), "empty": b"", "other": b"{}" * 99}[damage]
    )
    loaded = state.load(tmp_path)
    assert loaded.values["step"] == 1 and path.name in loaded.notes[0]


def test_nothing_to_load_is_said_by_name(tmp_path):
    with pytest.raises(DataError, match="missing"):
        state.load(tmp_path)
    assert not state.exists(tmp_path)
    (tmp_path / "state-00000001.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="damaged"):
        state.load(tmp_path)


def test_a_full_disk_keeps_what_is_there(tmp_path, monkeypatch):
    state.save(tmp_path, 1, _some(1))

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(ExportError, match="No space left") as caught:
        state.save(tmp_path, 2, _some(2))
    assert "Free some space" in caught.value.remedy
    assert [p.name for p in tmp_path.iterdir()] == ["state-00000001.safetensors"]
    assert state.load(tmp_path).values["step"] == 1
