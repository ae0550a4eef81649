"""What the extension costs a web UI in which nobody looks at it: seconds of its start, bytes of its page, requests."""

from __future__ import annotations

import resource
import statistics
import subprocess
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from browser_stage import show, visitor
from harness import PROJECT, Spec, WebUI

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(1800)]
STARTS = 3  # with and without in turn: what else the machine does comes over both
LIMIT_S, LIMIT_BYTES, IDLE_MS = 0.3, 100_000, 20_000
# What scripts/train_lora.py imports, once the web UI's own libraries are there.
LOAD = """
import gc, sys, time
import fastapi, gradio, numpy, PIL.ImageDraw, safetensors.torch, torch
from transformers import CLIPTextModel, CLIPTokenizer
sys.path.insert(0, sys.argv[1])
gc.freeze()  # a round over the web UI's own objects, 0.2 s, would come at another time
begun = time.process_time()
import lib_lora_train.ui.tab, lib_lora_train.app.routes, lib_lora_train.hosts.detect
print(time.process_time() - begun)
"""


def processor_seconds(spec: Spec) -> tuple[float, float]:
    """Of loading the script and of install.py with nothing to add, in the web UI's Python; the best of eight."""
    loads, installs = [], []
    for _ in range(8):
        command = [spec.python, "-c", LOAD, PROJECT]
        done = subprocess.run(command, cwd=spec.folder, capture_output=True, text=True, check=True)
        loads.append(float(done.stdout.split()[-1]))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([spec.python, PROJECT / "install.py"], cwd=spec.folder, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        installs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(loads), min(installs)


def start(new_webui: Callable[..., Any], extensions: tuple, look: Callable[[WebUI], None]) -> dict[str, float]:
    """A web UI's start: `wall` and `cpu` seconds until it is ready; of these, by its own count, `ours`."""
    with new_webui(extensions=extensions) as ui:
        cpu = psutil.Process(ui.process.pid).cpu_times()
        profile = ui.get("/internal/profile-startup")
        ours = [took for name, took in profile["records"].items() if name.endswith("/train_lora.py")]
        assert len(ours) == 2 * bool(extensions), "loading the script, and the routes"
        look(ui)
        return {"wall": profile["total"], "cpu": cpu.user + cpu.system, "ours": sum(ours)}


def fetched(browser, ui: WebUI) -> tuple[int, list[str]]:
    """Bytes of all that the page loads before anybody clicks, and our requests in the time after."""
    with visitor(browser) as page:
        page.set_default_timeout(120_000)
        sizes: list[int] = []
        client = page.context.new_cdp_session(page)
        client.on("Network.dataReceived", lambda told: sizes.append(told["dataLength"]))
        client.send("Network.enable")
        page.goto(ui.base_url)
        show(page, "img2img")
        page.wait_for_timeout(5000)
        loaded, asked = sum(sizes), []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(IDLE_MS)
    return loaded, [url for url in asked if "train-lora" in url]


def test_start_and_page_stay_light(spec: Spec, new_webui, browser, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # users' machines keep what was compiled
    load, install = processor_seconds(spec)
    print(f"\nprocessor s of loading the script {load:.2f}, of install.py {install:.2f}")
    assert load + install < LIMIT_S
    seconds: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    pages: dict[bool, tuple[int, list[str]]] = {}

    for number in range(2 * STARTS):
        ours = number % 2 == 0

        def look(ui: WebUI, ours: bool = ours) -> None:
            pages[ours] = pages.get(ours) or fetched(browser, ui)

        seconds[ours].append(start(new_webui, (PROJECT,) if ours else (), look))
    for kind in ("wall", "cpu", "ours"):
        told = {ours: " ".join(f"{one[kind]:.2f}" for one in starts) for ours, starts in seconds.items()}
        print(f"\n{kind} s with {told[True]}, without {told[False]}; medians differ by {differ(seconds, kind):+.2f}")
    more = pages[True][0] - pages[False][0]
    print(f"bytes of the page {pages[True][0]}, without {pages[False][0]}: {more:+}; requests after: {pages[True][1]}")
    assert 0 < more < LIMIT_BYTES
    assert pages[True][1] == [], "nothing is asked for before the tab is looked at"


def differ(seconds: dict[bool, list[dict[str, float]]], kind: str) -> float:
    with_us, without = (statistics.median(one[kind] for one in seconds[ours]) for ours in (True, False))
    return with_us - without
