"""Every family from checkpoint to file and picture on the stand-alone host: trained, placed by the hosts, drawn."""

from __future__ import annotations

import golden_data
import pytest
import torch
from engine_stage import folder_in, last_file, lent, of, pictures, play, recipe
from safetensors.torch import load_file

from demo import tiny
from demo.ldm_layout import TINY_SD1, TINY_SD2, TINY_SDXL, checkpoint
from lib_lora_train.adapters.build import build, from_tensors
from lib_lora_train.adapters.load import read
from lib_lora_train.data.text_cache import TextCache
from lib_lora_train.events import Control, Progress
from lib_lora_train.export.lora_file import read_metadata
from lib_lora_train.sampling.draw import SampleRequest, draw
from lib_lora_train.settings.options_network import NetworkSettings

SIZES = {"SD1": TINY_SD1, "SD2": TINY_SD2, "SDXL": TINY_SDXL}
PREFIXES = {  # of a checkpoint's keys, and of the names that the host gives the layers below
    "model.diffusion_model.": "diffusion_model.",
    "cond_stage_model.": "",
    "conditioner.embedders.": "",
}
ROWS = {"SD1": "sd15", "SD2": "sd21", "SDXL": "sdxl"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data"), [(64, 64), (96, 64)])


def made(folder, family, velocity=False, zero=False):
    return tiny.make(folder, sizes=SIZES[family], v_prediction=velocity, zero_terminal_snr=zero)


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize(
    ("family", "velocity", "zero"),
    [
        ("SD1", False, False),
        ("SD2", False, False),
        ("SD2", True, False),
        ("SDXL", False, False),
        ("SDXL", True, False),
        ("SDXL", True, True),
    ],
)
def test_three_steps_give_a_file_that_the_host_places_completely(tmp_path, data, family, velocity, zero):
    path = made(tmp_path, family, velocity, zero)
    folder = folder_in(tmp_path)
    with lent(path, tmp_path) as loan:
        before = drawn(loan)
        wanted = recipe(data, max_train_steps=3, network_type="LoCon", conv_dim=2, learning_rate=0.05)
        events = play(loan, wanted, folder)
        assert len(of(events, Progress)) == 3
        assert all(event.skipped == 0 and 0 < event.loss < 100 for event in of(events, Progress))
        file = last_file(events, folder)
        tensors = load_file(file)
        assert unplaced(family, {key.split(".")[0] for key in tensors}) == set()
        still = {key.split(".")[0] for key, up in tensors.items() if key.endswith("lora_up.weight") and not up.any()}
        assert still <= unmoved(tensors)
        assert drawn(loan) == before
        adapters = from_tensors(loan, read(file))
        adapters.attach()
        assert drawn(loan) != before
        adapters.detach()
    metadata = read_metadata(file)
    assert metadata["ss_v2"] == str(family == "SD2")
    assert metadata["ss_base_model_version"].startswith({"SD1": "sd_v1", "SD2": "sd_v2", "SDXL": "sdxl_"}[family])
    assert (velocity and "v" or "epsilon") in metadata.get("modelspec.prediction_type", "epsilon v")


def unmoved(keys):
    """What nothing depends on: the last layer of SDXL's first encoder, and attention to a single pixel."""
    last = f"lora_te1_text_model_encoder_layers_{TINY_SDXL.text_layers - 1}_"
    alone = tuple(f"mid_block_attentions_0_transformer_blocks_0_attn1_to_{part}" for part in "qk")
    return {key.split(".")[0] for key in keys if key.startswith(last) or key.split(".")[0].endswith(alone)}


def drawn(loan):
    return draw(loan, SampleRequest("a pib", "", 64, 64, 2, seed=3)).tobytes()


def unplaced(family, modules):
    """The modules of a file that the host finds no layer for, by the names and fall-backs recorded from it."""
    rows = dict(golden_data.facts("09_host_layer_names")["rows"][ROWS[family]])
    layers = host_layers(SIZES[family])
    return {module for module in modules if module not in rows or not set(candidates(module, rows[module])) & layers}


def candidates(module, name):
    yield name
    for ending in ("_q_proj", "_k_proj", "_v_proj"):
        if name.endswith(ending):
            yield name.removesuffix(ending)
    if "lora_unet" in module:
        yield module.replace("lora_unet", "diffusion_model")
    yield module.replace("lora_te1_text_model", "0_transformer_text_model")


def host_layers(sizes):
    found = set()
    for key in checkpoint(sizes):
        for prefix, new in PREFIXES.items():
            if key.startswith(prefix):
                found.add((new + key[len(prefix) :]).rpartition(".")[0].replace(".", "_"))
    return found


@pytest.mark.parametrize("kind", ["LoRA", "LoKr"])
@pytest.mark.parametrize("family", SIZES)
def test_magnitudes_have_the_dimensions_of_the_checkpoints_own_layer(tmp_path, family, kind):
    """SD2's ways in and out of attention are linear layers there and 1x1 convolutions in LoRA files; A1111 multiplies
    its own weight by the magnitudes as they are in the file."""
    network = NetworkSettings(network_type=kind, network_dim=2, conv_dim=2, weight_decompose=True)
    with lent(made(tmp_path, family), tmp_path) as loan:
        adapters = build(loan, network, seed=1)
        tensors = adapters.state_dict()
        name = next(key for key in tensors if "proj_in.dora_scale" in key)
        assert tensors[name].dim() == {"SD1": 4, "SD2": 2, "SDXL": 2}[family]
        again = from_tensors(loan, {key: tensor * 1.1 for key, tensor in tensors.items()})
        adapters.load_state_dict(again.state_dict())
        for (_, one), (target, other) in zip(adapters.layers, again.layers, strict=True):
            torch.testing.assert_close(one.added(target.module), other.added(target.module))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["SD2", "SDXL"])
def test_a_paused_and_resumed_run_gives_the_same_file(tmp_path, data, family):
    path = made(tmp_path, family)
    wanted = recipe(data, max_train_steps=3, train_text_encoder=True)
    straight, broken = folder_in(tmp_path), folder_in(tmp_path)
    with lent(path, tmp_path) as loan:
        whole = last_file(play(loan, wanted, straight), straight).read_bytes()
        interrupted(loan, wanted, broken)
    with lent(path, tmp_path) as loan:
        events = play(loan, wanted, broken, resume=True)
    assert [event.step for event in of(events, Progress)] == [2, 3]
    first, second = load_file(last_file(events, broken)), _tensors(whole)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def interrupted(loan, wanted, folder):
    from lib_lora_train.engine.run import run

    events = run(loan, wanted, Control(), folder)
    next(event for event in events if isinstance(event, Progress))
    events.close()


def _tensors(content):
    from safetensors.torch import load

    return load(content)


@pytest.mark.parametrize("family", SIZES)
def test_cached_texts_are_what_the_encoders_say_now(tmp_path, family):
    with lent(made(tmp_path, family), tmp_path) as loan:
        cache = TextCache(tmp_path / "cache")
        list(cache.fill(loan, ["a pib", "a hat"], 150, 1))
        cached = cache.get(["a hat", "a pib"])
        with torch.no_grad():
            fresh = loan.family.encode_text(loan, ["a hat", "a pib"], 150, 1)
    torch.testing.assert_close(cached.context, fresh.context, rtol=1e-4, atol=1e-5)
    assert (cached.pooled is None) == (family != "SDXL")
    if cached.pooled is not None:
        torch.testing.assert_close(cached.pooled, fresh.pooled, rtol=1e-4, atol=1e-5)


def test_an_empty_negative_prompt_is_silence_for_sdxl(tmp_path):
    """As the hosts have it; the seed's picture would differ from theirs otherwise."""
    with lent(made(tmp_path, "SDXL"), tmp_path) as loan:
        seen = []
        plain = loan.family.predict

        def listening(loan, noisy, timesteps, conditioning, sizes):
            seen.append(conditioning)
            return plain(loan, noisy, timesteps, conditioning, sizes)

        family = type("Listening", (type(loan.family),), {"predict": staticmethod(listening)})()
        loan.family = family
        for negative in ("", "a hat"):
            draw(loan, SampleRequest("a pib", negative, 64, 64, 1))
    silent, spoken = seen
    assert not silent.context[0].any() and not silent.pooled[0].any()
    assert spoken.context[0].any() and spoken.pooled[0].any()
    assert torch.allclose(silent.context[1], spoken.context[1], atol=1e-5)
