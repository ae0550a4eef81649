"""reForge chooses as A1111 does and holds its model as Forge does; it takes one apart before it loads another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forge_stage import Forge, Info, Patcher, install
from safetensors.torch import load_file, save_file
from test_hosts_forge import LAYER, held, theirs
from torch import nn

from lib_lora_train.errors import CheckpointSwitched, HostError
from lib_lora_train.hosts import detect
from lib_lora_train.hosts.lock import is_locked


class EPS:
    """What is predicted: the noise."""


class V_PREDICTION(EPS):  # noqa: N801 its name is what is looked at
    """What is predicted: the velocity."""


class X0(EPS):
    """What is predicted: the picture."""


class Sampling(nn.Module):
    """The schedule."""

    def __init__(self):
        super().__init__()
        alphas = torch.linspace(0.99, 0.01, 1000, dtype=torch.float64)
        self.register_buffer("sigmas", ((1 - alphas) / alphas).sqrt().float())


class ReForge(Forge):
    """The web UI in `sys.modules`."""

    def __init__(self, checkpoint: Path, folder: Path, predicts: type = EPS):
        self.options = SimpleNamespace(CLIP_stop_at_last_layers=1, sd_model_checkpoint="", sd_text_encoder="Automatic")
        self.listed: dict[str, Info] = {}
        self.predicts, self.vae = predicts, SimpleNamespace(loaded_vae_file=None)
        super().__init__(checkpoint, folder, Patcher)
        self.data = SimpleNamespace(sd_model=None, loaded_sd_models=[], lock=self.lock)

    def choose(self, checkpoint: Path, *_: str) -> None:
        self.listed[checkpoint.name] = Info(checkpoint)
        self.options.sd_model_checkpoint = checkpoint.name

    @torch.no_grad()
    def reload(self) -> None:
        info = self.listed[self.options.sd_model_checkpoint]
        if any(model.sd_checkpoint_info is info for model in self.data.loaded_sd_models):
            return
        while self.data.loaded_sd_models:
            take_apart(self.data.loaded_sd_models.pop())
        model = self._engine(Path(info.filename))
        model.sd_checkpoint_info, model.ztsnr = info, False
        unet, clip = model.forge_objects_original.unet.model, model.forge_objects_original.clip
        unet.model_sampling = type("ModelSampling", (Sampling, self.predicts), {})()
        unet.latent_format = SimpleNamespace(process_in=lambda latent: latent * 0.18215)
        clip.tokenizer = SimpleNamespace(clip_l=SimpleNamespace(tokenizer=clip.tokenizer.clip_l))
        self.data.sd_model = model
        self.data.loaded_sd_models.append(model)
        self.loads += 1

    def modules(self) -> dict[str, dict]:
        found = super().modules()
        for name in ("backend", "backend.memory_management"):
            found[f"ldm_patched{name.removeprefix('backend')}"] = found.pop(name)
        management = found.pop("ldm_patched.memory_management")
        found["modules.shared"] |= {"opts": self.options, "sd_model": None}
        found["modules.sd_models"] = {
            "model_data": self.data,
            "reload_model_weights": self.reload,
            "unload_first_loaded_model": None,
            "checkpoint_aliases": self.listed,
        }
        return found | {
            "modules.launch_utils": {"git_tag": lambda: "f1.0.0v2-v1.10.1RC-1.10.1"},
            "modules.sd_vae": vars(self.vae),
            "modules.sd_text_encoder": {"text_encoder_options": []},
            "modules_forge": {},
            "modules_forge.forge_loader": {"load_model_for_a1111": None},
            "ldm_patched.modules": {},
            "ldm_patched.modules.model_management": management,
        }


def take_apart(model: SimpleNamespace) -> None:
    """As reForge does, so that nobody who still knows the model keeps its memory."""
    for module in list(model.forge_objects_original.unet.model.modules()):
        module._parameters = module._modules = None


@pytest.fixture
def stage(tiny_checkpoint, tmp_path, monkeypatch) -> ReForge:
    stage = ReForge(tiny_checkpoint, tmp_path)
    install(monkeypatch, stage.modules())
    return stage


@pytest.fixture
def host(stage: ReForge):
    host = detect.host()
    assert host.name == "reForge f1.0.0v2"
    yield host
    assert not is_locked(stage.lock)


@pytest.fixture
def other(tiny_checkpoint, tmp_path) -> Path:
    path = tmp_path / "other.safetensors"
    save_file({key: tensor * 1.5 for key, tensor in load_file(tiny_checkpoint).items()}, path)
    return path


def test_its_tensors_are_lent_without_copies_and_let_go_meanwhile(host, stage: ReForge):
    with host.lend() as loan:
        assert held(loan) == theirs(stage)
        assert (loan.family.name, loan.prediction, loan.vae_scale) == ("SD1", "epsilon", pytest.approx(0.18215))
        assert torch.allclose(loan.alphas_cumprod, torch.linspace(0.99, 0.01, 1000), rtol=1e-6, atol=0)
        with host.away(loan):
            assert not held(loan)  # or reForge could not free the memory
        assert held(loan) == theirs(stage)
    status = host.status()
    assert (status.family, status.prediction, status.problem) == ("SD1", "epsilon", "")


def test_merged_loras_are_taken_out_exactly(host, stage: ReForge):
    with host.lend():
        plain = stage.weights()
    stage.draw({LAYER: 0.5})
    assert stage.weights() != plain
    with host.lend():
        assert stage.weights() == plain


def test_another_checkpoint_pauses_until_the_first_is_chosen_again(host, stage: ReForge, tiny_checkpoint, other):
    with host.lend() as loan:
        with pytest.raises(CheckpointSwitched, match="other"), host.away(loan):
            stage.choose(other)
            stage.reload()
        assert not held(loan) and host.identity().title == "other.safetensors"
        stage.choose(tiny_checkpoint)
        assert host.identity().key == loan.identity.key
        with host.away(loan):
            pass
        assert held(loan) == theirs(stage) and stage.loads == 3


def test_a_model_that_is_taken_apart_is_no_problem_to_look_at(host, stage: ReForge):
    with host.lend():
        pass
    take_apart(stage.data.loaded_sd_models.pop())
    status = host.status()
    assert (status.checkpoint, status.problem) == ("", "") and host.identity() is None

    with host.lend() as loan:  # loaded anew
        assert held(loan) == theirs(stage)


def test_a_model_that_is_taken_apart_while_it_is_looked_at(host, stage: ReForge, monkeypatch):
    with host.lend():
        pass

    def look(model) -> str:
        take_apart(stage.data.loaded_sd_models.pop())
        return next(model.forge_objects_original.unet.model.parameters()).dtype

    monkeypatch.setattr("lib_lora_train.hosts.forge.tensors.precision", look)
    assert host.status().problem == ""


@pytest.mark.parametrize(("predicts", "said"), [(V_PREDICTION, "v_prediction"), (X0, "`X0`")])
def test_what_is_predicted_is_what_it_draws_with(tiny_checkpoint, tmp_path, monkeypatch, predicts, said):
    stage = ReForge(tiny_checkpoint, tmp_path, predicts)
    install(monkeypatch, stage.modules())
    host = detect.host()
    if predicts is X0:
        with pytest.raises(HostError, match=said), host.lend():
            pass
        assert said in host.status().problem
        return
    with host.lend() as loan:
        assert loan.prediction == said == host.status().prediction


def test_a_text_encoder_from_another_file_is_part_of_what_is_lent(tiny_checkpoint, tmp_path, monkeypatch):
    stage = ReForge(tiny_checkpoint, tmp_path)
    stage.vae.loaded_vae_file = "/models/VAE/bright.safetensors"
    install(monkeypatch, stage.modules())
    for chosen, shown in {
        "Automatic": "",
        f"TE: {tiny_checkpoint.stem}": "",
        "TE: folder/small": ", folder/small",
    }.items():
        stage.options.sd_text_encoder = chosen
        with detect.host().lend() as loan:
            assert loan.identity.vae == f"bright.safetensors{shown}"
            assert detect.host().identity().key == loan.identity.key


def test_scaled_weights_are_refused_by_name(host, stage: ReForge):
    with host.lend():
        pass
    layer = stage.unet.get_submodule(LAYER.removesuffix(".weight"))
    layer.register_parameter("scale_weight", nn.Parameter(torch.ones(())))
    with pytest.raises(HostError, match="scaled fp8"), host.lend():
        pass
    assert "scaled fp8" in host.status().problem and host.status().remedy == "Load the checkpoint's fp16 file."
