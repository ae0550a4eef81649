"""A Forge to play with: its modules' names, real inference tensors of a tiny checkpoint, its merges and reloads."""

from __future__ import annotations

import importlib.machinery
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from lib_lora_train.hosts.checkpoint_file import mapped, under

PREFIXES = {"unet": "model.diffusion_model.", "clip": "cond_stage_model.transformer.", "vae": "first_stage_model."}


class Info:
    """A checkpoint as Forge lists it."""

    sha256 = ""
    hash = "12345678"

    def __init__(self, path: Path):
        self.filename, self.title = str(path), path.name

    def __repr__(self) -> str:
        return str({"filename": self.filename})


class Patcher:
    """`model` is patched while a clone with `patches` was the last one loaded; `old` ones can refresh by themselves."""

    def __init__(self, model: nn.Module, patches: dict | None = None):
        self.model, self.patches = model, patches or {}

    def clone(self, patches: dict) -> Patcher:
        return type(self)(self.model, patches)

    def load(self) -> None:
        loader = self.model.lora_loader
        if str(self.patches) == loader.loaded_hash:
            return
        for name, weight in loader.backup.items():
            _set(self.model, name, weight)
        loader.backup, loader.loaded_hash = {}, str(self.patches)
        for name, change in self.patches.items():
            weight = self.model.get_parameter(name)
            loader.backup[name] = weight
            _set(self.model, name, nn.Parameter(weight + change, requires_grad=False))


class RefreshingPatcher(Patcher):
    def refresh_loras(self) -> None:
        self.load()


class Objects(SimpleNamespace):
    def shallow_copy(self) -> Objects:
        return Objects(**vars(self))


class Forge:
    """The web UI in `sys.modules`; `patcher` is RefreshingPatcher (f2) or Patcher (Neo)."""

    def __init__(self, checkpoint: Path, folder: Path, patcher: type[Patcher] = RefreshingPatcher):
        self.patcher, self.loads, self.dtype = patcher, 0, torch.float32
        self.data = SimpleNamespace(sd_model=SimpleNamespace(), forge_loading_parameters={}, forge_hash="")
        self.lock = threading.Lock()
        self.folder = folder
        self.choose(checkpoint)

    def choose(self, checkpoint: Path, *files: str) -> None:
        """As in the lists at the top of the page: nothing is loaded yet."""
        parameters = {"checkpoint_info": Info(checkpoint), "additional_modules": list(files)}
        self.data.forge_loading_parameters = {**parameters, "unet_storage_dtype": None}

    @torch.inference_mode()
    def reload(self) -> None:
        """As Forge does before every picture."""
        wanted = self.data.forge_loading_parameters
        if self.data.forge_hash == str(wanted):
            return
        self.data.sd_model = None
        self.data.sd_model = self._engine(Path(wanted["checkpoint_info"].filename))
        self.data.forge_hash = str(wanted)
        self.loads += 1

    def draw(self, patches: dict[str, float]) -> None:
        """A picture with a LoRA that adds something to weights of the U-Net; it stays merged."""
        with self.lock, torch.inference_mode():
            self.reload()
            model = self.data.sd_model
            model.forge_objects = model.forge_objects_original.shallow_copy()
            model.forge_objects.unet = model.forge_objects.unet.clone(patches)
            model.forge_objects_after_applying_lora = model.forge_objects.shallow_copy()
            model.current_lora_hash = str(patches)
            model.forge_objects.unet.load()

    @property
    def unet(self) -> nn.Module:
        return self.data.sd_model.forge_objects_original.unet.model

    def weights(self) -> list[bytes]:
        objects = self.data.sd_model.forge_objects_original
        parts = (objects.unet.model, objects.clip.cond_stage_model, objects.vae.first_stage_model)
        return [p.detach().view(torch.uint8).numpy().tobytes() for part in parts for p in part.parameters()]

    def _engine(self, path: Path) -> SimpleNamespace:
        tensors = mapped(path)
        parts = {name: _tree(under(tensors, prefix), self.dtype) for name, prefix in PREFIXES.items()}
        parts["unet"].heads = 2
        unet, clip = nn.Module(), nn.Module()
        unet.diffusion_model, unet.storage_dtype = parts["unet"], self.dtype
        unet.predictor = SimpleNamespace(prediction_type="epsilon", alphas_cumprod=torch.linspace(0.99, 0.01, 1000))
        parts["clip"].config = SimpleNamespace(num_attention_heads=2, hidden_act="quick_gelu")
        clip.clip_l = nn.Module()
        clip.clip_l.transformer = parts["clip"]
        parts["vae"].process_in = lambda latent: latent * 0.18215
        for model in (unet, clip, parts["vae"]):
            model.lora_loader = SimpleNamespace(backup={}, loaded_hash="{}")
        tokenizer = SimpleNamespace(clip_l=SimpleNamespace(bos_token_id=0, eos_token_id=1))
        objects = Objects(
            unet=self.patcher(unet),
            clip=SimpleNamespace(cond_stage_model=clip, tokenizer=tokenizer, patcher=self.patcher(clip)),
            vae=SimpleNamespace(first_stage_model=parts["vae"], patcher=self.patcher(parts["vae"])),
        )
        return SimpleNamespace(
            forge_objects=objects.shallow_copy(),
            forge_objects_original=objects,
            forge_objects_after_applying_lora=objects.shallow_copy(),
            current_lora_hash="[]",
            model_config=SimpleNamespace(ztsnr=False),
        )

    def modules(self) -> dict[str, dict]:
        state = SimpleNamespace(job="")
        flags = SimpleNamespace(lora_dir=str(self.folder / "Lora"))
        return {
            "modules": {},
            "modules.shared": {"opts": SimpleNamespace(CLIP_stop_at_last_layers=1), "cmd_opts": flags, "state": state},
            "modules.paths": {"data_path": str(self.folder)},
            "modules.call_queue": {"queue_lock": self.lock},
            "modules.devices": {"device": torch.device("cpu"), "torch_gc": lambda: None},
            "modules.processing": {"process_images": None},
            "modules.launch_utils": {"git_tag": lambda: "f2.0.1v1.10.1-1.10.1"},
            "modules.sd_models": {"model_data": self.data, "forge_model_reload": self.reload},
            "backend": {},
            "backend.memory_management": {"load_models_gpu": lambda patchers: [each.load() for each in patchers]},
        }


def install(monkeypatch: pytest.MonkeyPatch, modules: dict[str, dict]) -> None:
    """Into `sys.modules`, until the test is over."""
    for name, contents in modules.items():
        module = ModuleType(name)
        module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None), []
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, module)


def _tree(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> nn.Module:
    """Modules whose parameters have these names."""
    root = nn.Module()
    for key, tensor in tensors.items():
        module, names = root, key.split(".")
        for name in names[:-1]:
            if not hasattr(module, name):
                module.add_module(name, nn.Module())
            module = getattr(module, name)
        module.register_parameter(names[-1], nn.Parameter(tensor.clone().to(dtype)))
    return root


def _set(model: nn.Module, name: str, weight: nn.Parameter) -> None:
    owner, _, leaf = name.rpartition(".")
    model.get_submodule(owner)._parameters[leaf] = weight
