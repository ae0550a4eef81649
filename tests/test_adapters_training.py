"""Networks of every kind on a loan: they learn, come back from files, drop out alike after a resume, keep norms."""

from __future__ import annotations

import golden_data
import pytest
import torch
from engine_stage import folder_in, last_file, lent, pictures, play, recipe, traces
from safetensors.torch import load_file, save_file
from test_adapters_attach import outputs
from torch import nn

from lib_lora_train.adapters.adapter_set import AdapterSet
from lib_lora_train.adapters.build import build, from_tensors
from lib_lora_train.adapters.drops import Drops, LayerDrops, Shares
from lib_lora_train.adapters.kinds import KINDS
from lib_lora_train.adapters.lora import DOWN, UP
from lib_lora_train.adapters.spec import Spec
from lib_lora_train.adapters.targets import Target
from lib_lora_train.engine.run import run
from lib_lora_train.events import Control
from lib_lora_train.families.checkpointing import enable_checkpointing
from lib_lora_train.settings.options_network import NetworkSettings

SMALL = {"network_dim": 2, "network_alpha": 2, "conv_dim": 2, "conv_alpha": 2}
NETWORKS = {
    **{kind: {"network_type": kind} for kind in ("LoCon", "LoHa", "LoKr", "IA3", "GLoRA", "full")},
    "OFT": {"network_type": "OFT", "network_dim": 4},
    "BOFT": {"network_type": "BOFT", "network_dim": 16},
    "DyLoRA": {"network_type": "DyLoRA", "dylora_unit": 1},
    "DoRA": {"network_type": "LoCon", "weight_decompose": True, "use_tucker": True},
    "norm": {"network_type": "LoRA", "train_norm": True, "network_preset": "attn-only"},
}
RATES = {"full": 1e-3, "IA3": 5e-2, "LoHa": 2e-2, "DyLoRA": 3e-3, "BOFT": 1e-3}


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, tmp_path_factory):
    with lent(tiny_checkpoint, tmp_path_factory.mktemp("loan")) as loan:
        yield loan


def learn(loan, adapters, rate, steps=20):
    """The loss before and after steps towards outputs that are a little other than the loan's, with everything in."""
    with torch.no_grad():
        wanted = 0.9 * outputs(loan)
    adapters.attach()
    parameters = [p for part in adapters.parts for p in adapters.parameters(part)]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    losses = [(outputs(loan) - wanted).square().mean().item()]
    for step in range(steps):
        with adapters.dropping(1, [f"{step}/0", f"{step}/1"]):
            loss = (outputs(loan) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    losses.append((outputs(loan) - wanted).square().mean().item())
    adapters.detach()
    return losses


@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_steps_lower_the_loss_and_the_file_continues(loan, name):
    network = NetworkSettings(**{**SMALL, **NETWORKS[name]})
    before, picture = traces(loan), outputs(loan)
    adapters = build(loan, network, seed=1)
    adapters.attach()
    torch.testing.assert_close(outputs(loan), picture, rtol=1e-4, atol=1e-5)
    adapters.detach()
    before_steps, after = learn(loan, adapters, RATES.get(name, 1e-2))
    assert after < (0.98 if name in ("OFT", "BOFT") else 0.9) * before_steps  # turning cannot make outputs smaller
    file = adapters.state_dict()
    learnt = shown(loan, adapters)
    assert torch.equal(shown(loan, again(loan, network, file)), learnt)
    torch.testing.assert_close(shown(loan, from_tensors(loan, file)), learnt, rtol=1e-5, atol=1e-6)
    assert torch.equal(outputs(loan), picture) and traces(loan) == before


def again(loan, network, file):
    adapters = build(loan, network, seed=2)
    adapters.load_state_dict(file)
    return adapters


def shown(loan, adapters):
    adapters.attach()
    try:
        with torch.no_grad():
            return outputs(loan)
    finally:
        adapters.detach()


def test_a_file_whose_ranks_and_kinds_differ_by_layer_continues_as_it_is(loan):
    """As other programs' resizing makes them, or merged from several."""
    made = [
        build(loan, NetworkSettings(network_type=kind, network_dim=rank, network_preset="attn-only"), seed=1)
        for kind, rank in (("LoRA", 1), ("LoRA", 3), ("LoHa", 2), ("LoKr", 1))
    ]
    files = [one.state_dict() for one in made]
    keys = list(dict.fromkeys(key.split(".")[0] for key in files[0]))
    mixed = {k: t for i, key in enumerate(keys) for k, t in files[i % 4].items() if k.split(".")[0] == key}
    adapters = from_tensors(loan, mixed, NetworkSettings(rank_dropout=0.5))
    assert {layer.form.kind for _, layer in adapters.layers} == {"LoRA", "LoHa", "LoKr"}
    again = adapters.state_dict()
    assert again.keys() == mixed.keys() and all(torch.equal(again[key], mixed[key]) for key in mixed)


DROPS = {"network_dropout": 0.3, "rank_dropout": 0.2, "module_dropout": 0.2}


@pytest.mark.parametrize("name", ["LoCon", "LoHa", "DyLoRA"])
def test_what_sits_out_is_each_samples_own_and_only_in_training(loan, name):
    network = NetworkSettings(**{**SMALL, **NETWORKS[name], **DROPS}, train_text_encoder=False)
    adapters = build(loan, network, seed=1)
    with torch.no_grad():
        for part in adapters.parts:
            for parameter in adapters.parameters(part):
                parameter += 0.2
    quiet = shown(loan, adapters)
    assert torch.equal(shown(loan, adapters), quiet)

    def during(seed, samples):
        with adapters.dropping(seed, samples):
            return shown(loan, adapters)

    first = during(1, ["a", "b"])
    assert torch.equal(during(1, ["a", "b"]), first) and not torch.equal(first, quiet)
    assert not torch.equal(during(2, ["a", "b"]), first)
    if name != "DyLoRA":  # its rank is the batch's
        other = during(1, ["a", "c"])
        torch.testing.assert_close(other[0], first[0])
        assert not torch.allclose(other[1], first[1])
    assert torch.equal(shown(loan, adapters), quiet)


def test_the_mean_stays_what_it_is():
    drops = Drops(1, [str(i) for i in range(4000)], Shares(0.4, 0.3, 0.0)).at("layer")
    h = torch.ones(4000, 3, 8)
    kept = drops.ranks(drops.neurons(h), -1)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.02)
    assert (kept == 0).float().mean().item() == pytest.approx(1 - 0.6 * 0.7, abs=0.02)


class Recorded(LayerDrops):
    """Draws as the reference does, from the global generator, in its order."""

    def kept(self, what, shape, share, like):
        if what == "neurons":
            return (torch.nn.functional.dropout(torch.ones(tuple(shape)), share) > 0).float()
        if what == "modules":
            return torch.full((shape[0], *[1] * (len(shape) - 1)), float(self.taken))
        return (torch.rand((shape[0], max(shape[1:]))) > share).float().view(tuple(shape))


@pytest.mark.golden
@pytest.mark.parametrize("case", golden_data.facts("10_sdxl_size_and_dropout")["lora_dropout"], ids=lambda c: c["case"])
def test_dropouts_do_what_the_references_do(case):
    numbers = golden_data.tensors("10_sdxl_size_and_dropout")
    mine = {k.rsplit("/", 1)[1]: t for k, t in numbers.items() if k.startswith(f"dropout/{case['case']}/")}
    weight = mine["weight"]
    module = nn.Linear(*weight.shape[::-1]) if weight.dim() == 2 else nn.Conv2d(*weight.shape[1::-1], 3, padding=1)
    module.weight, module.bias = nn.Parameter(weight), nn.Parameter(mine["bias"])
    layer = KINDS["LoRA"](
        KINDS["LoRA"].form(tuple(weight.shape), Spec("LoRA", case["dim"], case["alpha"])), torch.device("cpu")
    )
    with torch.no_grad():
        for name in (DOWN, UP):
            layer.tensors[name].copy_(mine[name])
    shares = Shares(case.get("dropout", 0.0), case.get("rank_dropout", 0.0), case.get("module_dropout", 0.0))
    torch.testing.assert_close(module(mine["x"]) + layer(mine["x"], module, case["multiplier"]), mine["y_eval"])
    for seed in case["torch_seeds"]:
        drops = Recorded(Drops(0, ["0"] * len(mine["x"]), shares), "layer")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            object.__setattr__(drops, "taken", not shares.modules or torch.rand(1).item() >= shares.modules)
            y = module(mine["x"]) + layer(mine["x"], module, case["multiplier"], drops)
        torch.testing.assert_close(y, mine[f"y_seed{seed}"], rtol=1e-5, atol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("case", golden_data.facts("06_max_norm")["cases"], ids=lambda c: str(c["case"]))
def test_norms_are_limited_as_the_reference_does(case):
    numbers = golden_data.tensors("06_max_norm")
    inside = {k.split("/", 2)[2]: t for k, t in numbers.items() if k.startswith(f"{case['case']}/in/")}
    outside = {k.split("/", 2)[2]: t for k, t in numbers.items() if k.startswith(f"{case['case']}/out/")}
    layers = []
    for key in dict.fromkeys(name.split(".")[0] for name in inside):
        down, up = inside[f"{key}.{DOWN}"], inside[f"{key}.{UP}"]
        shape = (up.shape[0], *down.shape[1:])
        module = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2:])
        form = KINDS["LoRA"].form(shape, Spec("LoRA", len(down), float(inside[f"{key}.alpha"])))
        layers.append((Target(key, "unet", module, False), KINDS["LoRA"](form, torch.device("cpu"))))
    adapters = AdapterSet(layers)
    with torch.no_grad():
        for target, layer in layers:
            for name in (DOWN, UP):
                layer.tensors[name].copy_(inside[f"{target.key}.{name}"])
    assert adapters.limit_norms(case["scale_weight_norms"]) == case["keys_scaled"]
    for key, tensor in adapters.state_dict().items():
        torch.testing.assert_close(tensor, outside[key].float(), rtol=1e-5, atol=1e-7)
    norms = [layer.norm(target.module) for target, layer in layers]
    assert sum(norms) / len(norms) == pytest.approx(case["mean_norm"], rel=1e-4)
    assert max(norms) == pytest.approx(case["max_norm"], rel=1e-4)


LIVELY = {**DROPS, "network_type": "LoCon", "conv_dim": 2, "scale_weight_norms": 0.05, "loraplus_lr_ratio": 4}


def test_a_paused_and_resumed_run_with_dropouts_gives_the_same_file(tiny_checkpoint, tmp_path):
    changes = {**LIVELY, "block_lr_weight": "style", "save_precision": "float", "gradient_checkpointing": True}
    settings = recipe(pictures(tmp_path), **changes)
    with lent(tiny_checkpoint, tmp_path) as loan:
        whole = folder_in(tmp_path)
        expected = load_file(last_file(play(loan, settings, whole), whole))
        halves, control = folder_in(tmp_path), Control()
        events = run(loan, settings, control, halves)
        for event in events:
            if type(event).__name__ == "Progress" and event.step == 3:
                break
        events.close()
        resumed = load_file(last_file(play(loan, settings, halves, resume=True), halves))
    assert all(torch.equal(expected[key], tensor) for key, tensor in resumed.items())
    assert expected.keys() == resumed.keys()


def test_a_run_goes_on_with_the_files_own_ranks_and_is_resumed_without_the_file(tiny_checkpoint, tmp_path):
    with lent(tiny_checkpoint, tmp_path) as loan:
        first = build(loan, NetworkSettings(network_type="LoHa", network_dim=3), seed=4).state_dict()
        save_file(first, tmp_path / "before.safetensors")
        settings = recipe(
            pictures(tmp_path),
            network_weights=str(tmp_path / "before.safetensors"),
            dim_from_weights=True,
            max_train_steps=3,
            save_precision="float",
        )
        folder, control = folder_in(tmp_path), Control()
        events = run(loan, settings, control, folder)
        for event in events:
            if type(event).__name__ == "Progress" and event.step == 1:
                break
        events.close()
        (tmp_path / "before.safetensors").unlink()
        result = load_file(last_file(play(loan, settings, folder, resume=True), folder))
    assert {k: t.shape for k, t in result.items()} == {k: t.shape for k, t in first.items()}
    assert not all(torch.equal(result[key], tensor) for key, tensor in first.items())


@pytest.mark.parametrize("name", ["LoHa", "DoRA", "DyLoRA"])
def test_blocks_that_are_computed_twice_drop_out_alike(loan, name):
    """Gradient checkpointing, around kinds that compute their weights twice as well."""
    network = NetworkSettings(**{**SMALL, **NETWORKS[name], **DROPS}, train_text_encoder=False)

    def gradients(on):
        adapters = build(loan, network, seed=1)
        adapters.attach()
        enable_checkpointing(loan, on)
        try:
            with adapters.dropping(1, ["a", "b"]):
                outputs(loan).square().mean().backward()
        finally:
            enable_checkpointing(loan, False)
            adapters.detach()
        return [p.grad for p in adapters.parameters("unet")]

    for plain, twice in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, twice)
