"""SD2 and SDXL: full-size names and shapes, borrowed memory, and results as the libraries' own modules give them."""

from __future__ import annotations

import math

import golden_data
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from demo import tiny
from demo.ldm_layout import SD15, SD21, SDXL10, TINY_SD2, TINY_SDXL, Sizes, checkpoint
from lib_lora_train.errors import HostError
from lib_lora_train.families.borrow import check
from lib_lora_train.families.keys_openclip import respelt
from lib_lora_train.families.keys_unet import ldm_names, unet_layout
from lib_lora_train.families.known import FAMILIES
from lib_lora_train.families.listen import prediction_of
from lib_lora_train.families.loan import Conditioning
from lib_lora_train.hosts.checkpoint_file import under
from lib_lora_train.hosts.standalone import StandaloneHost

UNET = "model.diffusion_model."
TINY = {"SD2": TINY_SD2, "SDXL": TINY_SDXL}


@pytest.fixture(scope="module", params=TINY)
def path(request, tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp(request.param), sizes=TINY[request.param])


@pytest.fixture(scope="module")
def loan(path):
    with StandaloneHost(path, path.parent, path.parent, device="cpu").lend() as loan:
        yield loan


@pytest.mark.parametrize(
    ("sizes", "parameters", "heads"),
    [(SD21, 865_910_724, (5, 10, 20, 20)), (SDXL10, 2_567_463_684, (5, 10, 20))],
    ids=["SD2.1", "SDXL"],
)
def test_full_unet_has_the_published_size_and_heads_of_64_channels(sizes, parameters, heads):
    from diffusers import UNet2DConditionModel

    shapes = under(checkpoint(sizes), UNET)
    layout = unet_layout(shapes, kind=FAMILIES[sizes.family].unet)
    with torch.device("meta"):
        module = UNet2DConditionModel(**layout.config)
    found = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert found.keys() == layout.names.keys()
    assert all(math.prod(found[name]) == math.prod(shapes[key]) for name, key in layout.names.items())
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert module.config.attention_head_dim == heads
    assert module.mid_block.attentions[0].transformer_blocks[-1].attn2.heads == heads[-1]


@pytest.mark.parametrize("sizes", [SD15, SD21, SDXL10, TINY_SDXL], ids=["SD1", "SD2", "SDXL", "tiny SDXL"])
def test_ldms_names_and_ours_are_inverse(sizes):
    names = unet_layout(under(checkpoint(sizes), UNET)).names
    stems = {name.rpartition(".")[0]: key.rpartition(".")[0] for name, key in names.items()}
    assert ldm_names(stems) == stems


def test_every_parameter_lies_in_the_files_memory(loan, path):
    """Slices and a transposed projection included: nothing is held twice."""
    host = StandaloneHost(path, path.parent, path.parent, device="cpu")
    with host.lend() as fresh:
        source = host._held.source
        parts = (source.unet, source.vae, *source.text_encoders)
        theirs = {tensor.untyped_storage().data_ptr() for part in parts for tensor in part.values()}
        ours = [p for m in (fresh.unet, fresh.vae, *fresh.text_encoders) for p in m.parameters()]
        assert {p.untyped_storage().data_ptr() for p in ours} <= theirs
        assert not any(p.requires_grad or p.is_meta for p in ours)


def test_openclip_is_as_its_own_formula_gives_it(path):
    """The second route: OpenCLIP's block written out with its fused projection, as its files hold it."""
    kind = FAMILIES["SDXL" if "sdxl" in path.name else "SD2"].texts[-1]
    own = under(load_file(path), kind.prefix)
    with StandaloneHost(path, path.parent, path.parent, device="cpu").lend() as loan:
        ids = torch.arange(77)[None] % 500
        ids[0, 20:] = loan.tokenizers[-1].eos
        x = own["token_embedding.weight"][ids] + own["positional_embedding"]
        for number in range(3 - kind.surplus):
            x = block({k: own[f"transformer.resblocks.{number}.{k}"] for k in BLOCK}, x, heads=1)
        x = F.layer_norm(x, (64,), own["ln_final.weight"], own["ln_final.bias"])
        output = loan.text_encoders[-1](ids)
        torch.testing.assert_close(output.last_hidden_state, x, rtol=1e-4, atol=1e-4)
        if kind.pooled:
            torch.testing.assert_close(output.text_embeds, x[:, 20] @ own["text_projection"], rtol=1e-4, atol=1e-4)


BLOCK = [
    "ln_1.weight", "ln_1.bias", "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight",
    "attn.out_proj.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight",
    "mlp.c_proj.bias",
]  # fmt: skip


def block(p, x, heads):
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    q, k, v = F.linear(normed, p["attn.in_proj_weight"], p["attn.in_proj_bias"]).unflatten(-1, (3, heads, -1)).unbind(2)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    x = x + F.linear(mixed, p["attn.out_proj.weight"], p["attn.out_proj.bias"])
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    inner = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]))
    return x + F.linear(inner, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


def test_hugging_faces_spelling_passes_through():
    kind = FAMILIES["SD2"].texts[0]
    tensors = {"text_model.final_layer_norm.bias": torch.zeros(2), "text_projection.weight": torch.zeros(2, 2)}
    assert list(respelt(tensors, kind)) == ["text_model.final_layer_norm.bias"]


@pytest.mark.golden
def test_sizes_are_embedded_as_in_the_reference():
    """In pixels: original height and width, crop top and left, target height and width; cos first."""
    from diffusers.models.embeddings import Timesteps

    layout = unet_layout(under(checkpoint(TINY_SDXL), UNET), kind=FAMILIES["SDXL"].unet)
    reference = golden_data.tensors("10_sdxl_size_and_dropout")
    for case in golden_data.facts("10_sdxl_size_and_dropout")["sdxl_size_embeddings"]:
        columns = [torch.tensor(case[f"{name}_hw"]) for name in ("original_size", "crop_top_left", "target_size")]
        sizes = torch.cat(columns, dim=1)
        embed = Timesteps(layout.config["addition_time_embed_dim"], flip_sin_to_cos=True, downscale_freq_shift=0)
        found = embed(sizes.flatten()).reshape(len(sizes), -1)
        torch.testing.assert_close(found, reference[f"size_embedding/{case['case']}"], rtol=1e-5, atol=1e-5)


def test_sizes_and_pooled_text_change_what_sdxl_predicts(tmp_path):
    path = tiny.make(tmp_path, sizes=TINY_SDXL)
    with StandaloneHost(path, tmp_path, tmp_path, device="cpu").lend() as loan, torch.no_grad():
        text = loan.family.encode_text(loan, ["a pib"], 75, 1)
        assert text.context.shape == (1, 77, TINY_SDXL.joint_context)
        assert text.pooled.shape == (1, TINY_SDXL.openclip.pooled)
        noisy, step = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([500])
        square, cropped = torch.tensor([[64.0, 64, 0, 0, 64, 64]]), torch.tensor([[64.0, 64, 32, 0, 64, 64]])
        first = loan.family.predict(loan, noisy, step, text, square)
        assert first.shape == noisy.shape
        assert not torch.allclose(first, loan.family.predict(loan, noisy, step, text, cropped))
        other = Conditioning(text.context, text.pooled + 1)
        assert not torch.allclose(first, loan.family.predict(loan, noisy, step, other, square))


@pytest.mark.parametrize(
    ("width", "says"), [(1280, "SDXL refiner"), (1024, "unCLIP")], ids=["refiner", "image variations"]
)
def test_relatives_that_cannot_be_trained_are_refused_by_name(width, says):
    shapes = under(checkpoint(TINY_SDXL), UNET)
    wide = {key: (shape[0], width) if key.endswith("attn2.to_k.weight") else shape for key, shape in shapes.items()}
    with pytest.raises(HostError, match=says) as refused:
        check(wide)
    assert refused.value.remedy


def test_inpainting_is_refused_in_every_family():
    for sizes in (Sizes(), TINY_SD2, TINY_SDXL):
        shapes = {**under(checkpoint(sizes), UNET), "input_blocks.0.0.weight": (32, 9, 3, 3)}
        with pytest.raises(HostError, match="inpainting"):
            check(shapes)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_model_is_heard_when_its_file_does_not_say(loan, prediction, monkeypatch):
    """Stands in for a trained model: it answers with the noise, or with a picture of its own."""
    picture = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5))

    def answer(noise, *_args, **_kwargs):
        return (noise + 0.3 * picture if prediction == "epsilon" else 0.07 * noise - picture,)

    monkeypatch.setattr(loan.unet, "forward", answer)
    assert prediction_of(loan.unet) == prediction


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize(("velocity", "zero"), [(False, False), (True, False), (True, True)])
def test_prediction_scale_and_schedule_are_found_with_and_without_a_yaml(tmp_path, family, velocity, zero):
    path = tiny.make(tmp_path, sizes=TINY[family], v_prediction=velocity, zero_terminal_snr=zero)
    for _ in range(2):
        with StandaloneHost(path, tmp_path, tmp_path, device="cpu").lend() as loan:
            if family == "SDXL" or path.with_suffix(".yaml").is_file():  # else random weights are asked
                assert loan.prediction == ("v_prediction" if velocity else "epsilon")
            assert loan.zero_terminal_snr == zero
            assert loan.vae_scale == {"SD2": 0.18215, "SDXL": 0.13025}[family]
        path.with_suffix(".yaml").unlink(missing_ok=True)


def test_another_kind_of_noise_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tiny.make(tmp_path, sizes=TINY_SDXL)
    save_file({**load_file(path), "edm_mean": torch.zeros(4)}, path)
    status = StandaloneHost(path, tmp_path, tmp_path, device="cpu").status()
    assert "edm_mean" in status.problem
