"""Every kind of network: golden 09_deltas, lycoris-lora as a second opinion, and what holds for all of them."""

from __future__ import annotations

import golden_data
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lib_lora_train.adapters.check import read
from lib_lora_train.adapters.kinds import KINDS
from lib_lora_train.adapters.layer import DORA, generator
from lib_lora_train.adapters.lokr import factors
from lib_lora_train.adapters.oft import butterfly
from lib_lora_train.adapters.spec import Spec

CPU = torch.device("cpu")
CASES = golden_data.facts("09_deltas")["cases"]
NUMBERS = golden_data.tensors("09_deltas")


def module_like(weight, bias, name):
    """A layer with the weights of a golden case; the name says the stride."""
    out, inputs, *kernel = weight.shape
    if not kernel:
        module = nn.Linear(inputs, out)
    else:
        module = nn.Conv2d(inputs, out, kernel, stride=2 if "stride2" in name else 1, padding=kernel[0] // 2)
    module.weight = nn.Parameter(weight, requires_grad=False)
    module.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return module


def from_file(tensors, module):
    """The layer that a file's module `m` makes, with its numbers."""
    found = read({f"m.{name}": tensor for name, tensor in tensors.items()})["m"]
    form = KINDS[found.kind].form_in(found.found, tuple(module.weight.shape))
    layer = KINDS[found.kind](form, CPU)
    with torch.no_grad():
        for name, tensor in found.tensors.items():
            layer.tensors[name].copy_(tensor.reshape(form.shapes[name]))
    return layer


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['case']} {c['algorithm']} {c['layer']}")
def test_what_files_hold_does_what_their_trainers_meant(case):
    mine = {k.split("/", 1)[1]: t for k, t in NUMBERS.items() if k.startswith(f"{case['case']}/")}
    module = module_like(mine["layer_weight"], mine.get("layer_bias"), case["layer"])
    layer = from_file({k[5:]: t for k, t in mine.items() if k.startswith("file/")}, module)
    if "y" in mine:
        with torch.no_grad():
            y = module(mine["x"]) + layer(mine["x"], module, 1.0)
        torch.testing.assert_close(y, mine["y"], rtol=1e-5, atol=3e-6)
    axis = case["options"].get("wd_on_out")  # normalised over outputs the host does something else (README, section 9)
    if "host_delta" in mine and not axis:
        torch.testing.assert_close(layer.added(module).detach(), mine["host_delta"], rtol=1e-5, atol=3e-6)


MODULES = {
    "linear": lambda: nn.Linear(24, 36),
    "square": lambda: nn.Linear(24, 24),
    "1x1": lambda: nn.Conv2d(16, 32, 1),
    "3x3": lambda: nn.Conv2d(12, 16, 3, padding=1),
    "stride": lambda: nn.Conv2d(16, 16, 3, stride=2, padding=1),
    "norm": lambda: nn.LayerNorm(24),
    "group": lambda: nn.GroupNorm(4, 16),
}
SPECS = {
    **{kind: Spec(kind, 4, 2.0) for kind in KINDS},
    "LoRA tucker": Spec("LoCon", 4, 2.0, tucker=True),
    "LoHa tucker": Spec("LoHa", 3, 2.0, tucker=True),
    "LoKr low rank": Spec("LoKr", 1, 2.0, factor=3),
    "LoKr tucker": Spec("LoKr", 1, 2.0, factor=2, tucker=True),
    "LoKr both": Spec("LoKr", 1, 2.0, decompose_both=True),
    "LoKr full": Spec("LoKr", 2, 2.0, full_matrix=True, factor=4),
    **{f"{kind} DoRA": Spec(kind, 3, 2.0, decompose=True) for kind in ("LoRA", "LoHa", "LoKr")},
    "LoCon DoRA tucker": Spec("LoCon", 3, 2.0, decompose=True, tucker=True),
    "OFT limit": Spec("OFT", 4, constraint=0.01),
    "OFT rescaled": Spec("OFT", 4, rescaled=True),
    "BOFT rescaled": Spec("BOFT", 8, rescaled=True, constraint=0.02),
    "DyLoRA unit": Spec("DyLoRA", 5, 2.0, unit=2),
}


def made(spec, place, seed=1):
    """(layer, module, x), None where the kind is not for such modules."""
    torch.manual_seed(seed)
    module = MODULES[place]().requires_grad_(False)
    nn.init.normal_(module.weight)
    form = KINDS[spec.kind].form(tuple(module.weight.shape), spec)
    if form is None:
        return None
    layer = KINDS[spec.kind](form, CPU)
    layer.start(generator(seed, place), module)
    channels = module.weight.shape[0] if place in ("norm", "group") else module.weight.shape[1]
    return (
        layer,
        module,
        torch.randn(*((2, channels, 6, 6) if place in ("1x1", "3x3", "stride", "group") else (2, 5, channels))),
    )


def trained(layer, size=0.3):
    """As training might leave it."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in layer.tensors.values():
            tensor += size * torch.randn(tensor.shape, generator=draw)
    return layer


EVERY = [(name, place) for name, spec in SPECS.items() for place in MODULES if made(spec, place)]


def test_every_kind_is_for_some_layers_and_only_norms_for_norms():
    assert {SPECS[name].kind for name, _ in EVERY} == set(KINDS)
    assert {name for name, place in EVERY if place in ("norm", "group")} == {"norm"}
    for name in ("IA3", "GLoRA"):  # what A1111 cannot apply to a convolution's weights
        assert {place for n, place in EVERY if n == name} == {"linear", "square"}


@pytest.mark.parametrize(("name", "place"), EVERY)
def test_attached_equals_merged_and_begins_with_nothing(name, place):
    layer, module, x = made(SPECS[name], place)
    plain = module(x)
    torch.testing.assert_close(plain + layer(x, module, 1.0), plain, rtol=1e-5, atol=2e-5)
    assert ("DoRA" in name) or torch.equal(plain + layer(x, module, 1.0), plain)
    trained(layer)
    for multiplier in (1.0, -0.6):
        hung = plain + layer(x, module, multiplier)
        assert not torch.allclose(hung, plain, atol=1e-3)
        merged = made(SPECS[name], place)[1]
        merged.weight += multiplier * layer.added(module).detach()
        if layer.bias_change() is not None:
            merged.bias += multiplier * layer.bias_change().detach()
        torch.testing.assert_close(hung, merged(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "place"), EVERY)
def test_all_tensors_learn_and_a_file_gives_them_back(name, place):
    layer, module, x = made(SPECS[name], place)
    trained(layer)(x, module, 1.0).square().mean().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in layer.tensors.values())
    again = from_file({**layer.constants(), **{k: t.detach() for k, t in layer.tensors.items()}}, module)
    torch.testing.assert_close(again.added(module), layer.added(module), rtol=1e-6, atol=1e-6)
    assert dict(again.form.shapes) == dict(layer.form.shapes)


@pytest.mark.parametrize("name", ["LoHa", "LoKr low rank", "LoRA DoRA", "GLoRA"])
def test_backward_keeps_no_more_than_the_changed_weight(name):
    """And gives the gradients of the plain computation."""
    layer, module, x = made(SPECS[name], "linear")
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = trained(layer)(x, module, 1.0)
    own = {t.data_ptr() for t in (*layer.tensors.values(), module.weight, x)}
    assert sum(t.shape == module.weight.shape for t in kept if t.data_ptr() not in own) <= 1
    y.square().sum().backward()
    plain = torch.nn.functional.linear(x, layer.added(module)).square().sum()
    for tensor, wanted in zip(layer.tensors.values(), torch.autograd.grad(plain, list(layer.tensors.values()))):
        torch.testing.assert_close(tensor.grad, wanted)


@pytest.mark.parametrize(("name", "place"), EVERY)
def test_shrinking_scales_the_change(name, place):
    layer, module, _ = made(SPECS[name], place)
    before = trained(layer).norm(module)
    if before is None:
        assert SPECS[name].kind in ("OFT", "BOFT")
        return
    layer.shrink(0.25)
    assert layer.norm(module) == pytest.approx(before / 4, rel=1e-4)


@pytest.mark.parametrize("place", ["linear", "3x3"])
def test_the_decomposed_weight_has_the_magnitudes_along_the_input_axis(place):
    layer, module, _ = made(SPECS["LoRA DoRA"], place)
    trained(layer)
    lengths = (module.weight + layer.added(module)).transpose(0, 1).flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, layer.tensors[DORA].flatten().abs(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["OFT", "BOFT"])
def test_turning_keeps_all_lengths_and_angles(name):
    layer, module, _ = made(SPECS[name], "stride")
    trained(layer)
    before, after = (weight.flatten(1) for weight in (module.weight, module.weight + layer.added(module)))
    torch.testing.assert_close(after.T @ after, before.T @ before, rtol=1e-4, atol=1e-3)


@given(st.integers(1, 3000), st.integers(-1, 64).filter(bool))
@settings(max_examples=200, deadline=None)
def test_factors_are_those_of_lycoris(number, limit):
    functional = pytest.importorskip("lycoris.functional.general")
    assert factors(number, limit) == functional.factorization(number, limit)
    size, count = functional.power2factorization(number, limit)
    assert butterfly(number, limit if limit > 0 else number) == ((size, count) if count else (0, 0))


LYCORIS = {  # ours: module of lycoris-lora and its arguments
    "LoRA": ("locon", "LoConModule", {}),
    "LoRA tucker": ("locon", "LoConModule", {"use_tucker": True}),
    "LoHa": ("loha", "LohaModule", {}),
    "LoHa tucker": ("loha", "LohaModule", {"use_tucker": True}),
    "LoKr": ("lokr", "LokrModule", {}),
    "LoKr low rank": ("lokr", "LokrModule", {"factor": 3}),
    "LoKr tucker": ("lokr", "LokrModule", {"factor": 2, "use_tucker": True}),
    "LoKr both": ("lokr", "LokrModule", {"decompose_both": True}),
    "LoKr full": ("lokr", "LokrModule", {"full_matrix": True, "factor": 4}),
    "LoRA DoRA": ("locon", "LoConModule", {"weight_decompose": True, "wd_on_out": False}),
    "LoHa DoRA": ("loha", "LohaModule", {"weight_decompose": True, "wd_on_out": False}),
    "LoKr DoRA": ("lokr", "LokrModule", {"weight_decompose": True, "wd_on_out": False}),
    "OFT": ("diag_oft", "DiagOFTModule", {}),
    "OFT limit": ("diag_oft", "DiagOFTModule", {"constraint": 0.01}),
    "OFT rescaled": ("diag_oft", "DiagOFTModule", {"rescaled": True}),
    "BOFT": ("boft", "ButterflyOFTModule", {}),
    "BOFT rescaled": ("boft", "ButterflyOFTModule", {"rescaled": True, "constraint": 0.02}),
    "GLoRA": ("glora", "GLoRAModule", {}),
    "IA3": ("ia3", "IA3Module", {}),
    "norm": ("norms", "NormModule", {}),
}


@pytest.mark.parametrize("name", LYCORIS)
@pytest.mark.parametrize("place", ["linear", "3x3", "norm"])
def test_lycoris_computes_the_same_from_its_file_as_we_do(name, place):
    """A module of the library, filled at random, against our layer of the file that it writes."""
    library = pytest.importorskip("lycoris")
    folder, cls, args = LYCORIS[name]
    if (name, place) not in EVERY:
        pytest.skip("not for such layers")
    _, module, x = made(SPECS[name], place)
    theirs = getattr(__import__(f"{library.__name__}.modules.{folder}", fromlist=[cls]), cls)(
        "m",
        module,
        1.0,
        **({} if name == "norm" else {"lora_dim": SPECS[name].rank, "alpha": SPECS[name].alpha}),
        **args,
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    file = theirs.custom_state_dict() if hasattr(theirs, "custom_state_dict") else dict(theirs.state_dict())
    file = {key: torch.as_tensor(tensor).detach() for key, tensor in (file or theirs.state_dict()).items()}
    file = {key: tensor for key, tensor in file.items() if "org_module" not in key and key != "scalar"}
    plain = module(x)
    theirs.eval()
    theirs.apply_to()
    expected = module(x)
    theirs.restore()
    assert torch.equal(module(x), plain)
    ours = from_file(file, module)
    ratio = 1.0 if name != "GLoRA" else SPECS[name].alpha / SPECS[name].rank  # ours is in the tensors
    torch.testing.assert_close(plain + ratio * ours(x, module, 1.0), expected, rtol=1e-4, atol=1e-4)
