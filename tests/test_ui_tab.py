"""The tab's frame, the apology, and the script that registers both with a web UI."""

from __future__ import annotations

import html.parser
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

gradio = pytest.importorskip("gradio")

from lib_lora_train.ui import tab  # noqa: E402

ROOT = Path(__file__).parents[1]


class Elements(html.parser.HTMLParser):
    """(tag, attributes) of every element, and all text."""

    def __init__(self, markup: str):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def _markup(page) -> str:
    return "".join(block.value for block in page.blocks.values() if isinstance(block, gradio.HTML))


def test_root_carries_settings_whatever_is_in_them():
    settings = {"output_name": "a\"b'<c>&", "trigger_word": "</div><script>", "network_dim": 8}
    made = Elements(tab.root("wait <b>", settings, key='k"'))
    assert [tag for tag, _ in made.found] == ["div"], "nothing given becomes markup"
    attributes = made.found[0][1]
    assert attributes["id"] == "train-lora-root"
    assert attributes["data-key"] == 'k"'
    assert json.loads(attributes["data-settings"]) == settings
    assert made.text == "wait <b>"


def test_the_web_ui_gets_one_tab_that_it_does_not_remember():
    [(page, title, name)] = tab.on_ui_tabs()
    assert (title, name) == ("Train LoRA", "train_lora")
    [frame] = [block for block in page.blocks.values() if isinstance(block, gradio.HTML)]
    assert frame.do_not_save_to_config
    assert frame.elem_id.startswith("train_lora_")
    assert 'id="train-lora-root"' in _markup(page)


def test_the_apology_is_text_and_no_root_for_the_scripts():
    [(page, title, _)] = tab.apology("It lacks <x>.", "Do this.", "<trace>")
    markup = _markup(page)
    assert title == "Train LoRA" and "It lacks &lt;x&gt;." in markup and "Do this." in markup
    assert "train-lora-root" not in markup and "<trace>" not in markup


@pytest.fixture
def web_ui(monkeypatch):
    """Runs scripts/train_lora.py as a web UI does; gives what it registered."""
    registered = SimpleNamespace(tabs=[], started=[], unloaded=[])
    callbacks = ModuleType("modules.script_callbacks")
    callbacks.on_ui_tabs = registered.tabs.append
    callbacks.on_app_started = registered.started.append
    callbacks.on_script_unloaded = registered.unloaded.append
    modules = ModuleType("modules")
    modules.script_callbacks = callbacks
    monkeypatch.setitem(sys.modules, "modules", modules)
    monkeypatch.setitem(sys.modules, "modules.script_callbacks", callbacks)

    def run():
        for kept in (registered.tabs, registered.started, registered.unloaded):
            kept.clear()  # as "Reload UI" drops what scripts had registered
        spec = importlib.util.spec_from_file_location("train_lora_script", ROOT / "scripts" / "train_lora.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return registered

    return run


def test_the_script_registers_tab_and_routes_also_when_run_again(web_ui):
    from lib_lora_train.app.jobs import runner

    before = runner()
    for _ in range(2):
        registered = web_ui()
        assert len(registered.tabs) == len(registered.started) == 1
        [(_, title, _)] = registered.tabs[0]()
        assert title == "Train LoRA"
    assert runner() is before, "a run that is on survives Reload UI"


def test_a_library_that_does_not_load_becomes_a_tab_that_says_so(web_ui, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lib_lora_train.app.routes", None)  # importing it raises ImportError
    registered = web_ui()
    assert not registered.started
    [(page, _, _)] = registered.tabs[0]()
    assert "cannot be loaded" in _markup(page) and "restart the web UI" in _markup(page)
    assert "Train LoRA" in capsys.readouterr().out


@pytest.fixture
def versions(monkeypatch):
    """What is installed, by name, where it is another version than really; None: missing."""
    from importlib import metadata

    real, changed = metadata.version, {}

    def version(name):
        found = changed[name] if name in changed else real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    return changed


def test_a_missing_package_is_named_above_what_works_without_it(web_ui, versions):
    versions["prodigyopt"] = None
    registered = web_ui()
    [(page, _, _)] = registered.tabs[0]()
    assert "lacks these packages: prodigyopt" in _markup(page) and "train-lora-root" in _markup(page)
    assert registered.started, "the routes are there"


def test_a_missing_package_without_which_nothing_works(web_ui, versions, monkeypatch):
    versions["msgspec"] = None
    monkeypatch.setitem(sys.modules, "lib_lora_train.app.routes", None)
    registered = web_ui()
    [(page, _, _)] = registered.tabs[0]()
    assert "lacks these packages: msgspec" in _markup(page) and not registered.started


def test_a_version_outside_the_range_is_named_and_the_tab_works(web_ui, versions):
    versions["diffusers"] = "0.25.1"
    registered = web_ui()
    [(page, _, _)] = registered.tabs[0]()
    shown = _markup(page)
    assert "diffusers 0.25.1 is installed; Train LoRA is made for &gt;=0.31,&lt;1" in shown
    assert "pip install &quot;diffusers&gt;=0.31,&lt;1&quot;" in shown and "train-lora-root" in shown
    assert registered.started


def test_libraries_that_do_not_fit_are_named_by_the_run(versions, monkeypatch):
    from lib_lora_train.errors import HostError
    from lib_lora_train.families.libraries import models

    versions["diffusers"] = "0.25.1"
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(HostError, match=r"diffusers 0\.25\.1 and transformers .* do not fit"):
        models()
