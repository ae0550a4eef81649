"""The web UI is known by what it can do; where that is not enough, the page says what is missing."""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace

import pytest

from lib_lora_train.errors import HostError
from lib_lora_train.hosts import detect
from lib_lora_train.hosts.base import PictureRequest


def make(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """A web UI's modules with these names in them."""
    for name, contents in {"modules": [], **names}.items():
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        for attribute in contents:
            setattr(module, attribute, SimpleNamespace())
        monkeypatch.setitem(sys.modules, name, module)


A1111 = {
    "modules.shared": ["opts", "cmd_opts", "state"],
    "modules.paths": ["data_path"],
    "modules.call_queue": ["queue_lock"],
    "modules.devices": ["device"],
    "modules.processing": ["process_images"],
    "modules.sd_models": ["model_data", "reload_model_weights"],
    "modules.sd_vae": ["loaded_vae_file"],
    "modules.sd_hijack": ["model_hijack"],
}


def test_a1111_by_its_abilities(monkeypatch):
    make(monkeypatch, A1111)
    assert type(detect.host()).__name__ == "A1111Host"


def test_what_is_missing_is_named(monkeypatch):
    make(monkeypatch, {**A1111, "modules.call_queue": []})
    status = detect.host().status()
    assert "modules.call_queue.queue_lock" in status.problem and "process_images" not in status.problem
    assert status.remedy


def test_no_web_ui_at_all():
    host = detect.host()
    assert host.status().problem and host.status().checkpoint == "" and host.identity() is None
    with pytest.raises(HostError), host.lend():
        pass
    with pytest.raises(HostError):
        host.txt2img(PictureRequest("a house"))
