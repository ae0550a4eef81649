"""Starts a real web UI with the extension in a fresh data folder; what host tests drive it with.

    spec = Spec.from_environment()               # None without WEBUI_DIR
    with WebUI(spec, tmp_path, args=["--medvram"]) as ui:
        ui.get("/sdapi/v1/options"); ui.post("/train-lora/v1/start", {...}); ui.txt2img("a house", seed=1)
        ui.base_url, ui.log, ui.lora_dir, ui.data_dir, ui.kill(), ui.start()

WEBUI_DIR: the web UI's folder. WEBUI_PYTHON: its Python. WEBUI_ARGS: its flags, as on a command line.
WEBUI_CHECKPOINT: a `.safetensors`, with its `.yaml` beside it where the web UI needs one. WEBUI_OPTIONS: JSON with what
a new config.json must hold, if anything. WEBUI_CARD=pretended: the web UI finds a graphics card (tests/card); for
torch's CPU build, and WEBUI_ARGS without flags for the processor. The rest of the environment is passed on (HF_HOME and
the like).
"""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinds import Kind, kind_of
from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]
PROBE = Path(__file__).resolve().parent / "probe_extension"
CARD = PROJECT / "tests" / "card" / "web_ui"
STEP_S = 0.3  # of the probe's worker, at least
_READY = "Startup time:"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "COLUMNS": "500",  # or lines of the log are broken
}


@dataclass(frozen=True)
class Spec:
    """Which web UI, from the environment."""

    folder: Path
    python: Path
    args: tuple[str, ...]
    checkpoint: Path

    @staticmethod
    def from_environment() -> Spec | None:
        env = os.environ
        if not env.get("WEBUI_DIR"):
            return None
        folder, checkpoint = Path(env["WEBUI_DIR"]), Path(env["WEBUI_CHECKPOINT"])
        python = Path(env.get("WEBUI_PYTHON", sys.executable))
        return Spec(folder, python, tuple(shlex.split(env.get("WEBUI_ARGS", "--api"))), checkpoint)

    @property
    def kind(self) -> Kind:
        return kind_of(self.folder)

    @property
    def listed(self) -> bool:
        """Does the web UI see the checkpoint's folder by its flags?"""
        named = [Path(after) for flag, after in zip(self.args, self.args[1:]) if flag == "--ckpt-dir"]
        return self.checkpoint.parent in named


class WebUI:
    """One running web UI; a context manager that stops it. Started again, it finds its data folder as it left it."""

    def __init__(
        self,
        spec: Spec,
        data_dir: Path,
        args: Sequence[str] = (),
        without: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        extensions: Sequence[Path] = (PROJECT, PROBE),
    ):
        """`args` come after the spec's (less `without`), `options` go into config.json, `extensions` are linked."""
        self.spec, self.data_dir = spec, Path(data_dir)
        self.args = [*(flag for flag in spec.args if flag not in without), *args]
        self.port = free_port()
        self.log_path = self.data_dir / "server.log"
        self.process: subprocess.Popen | None = None
        self.headers: dict[str, str] = {}  # sent with every request
        self._prepare(options or {}, extensions)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lora_dir(self) -> Path:
        return self.data_dir / "models" / "Lora"

    @property
    def models_dir(self) -> Path:
        """Checkpoints put here are listed, after a restart or `POST /sdapi/v1/refresh-checkpoints`."""
        return self.data_dir / "models" / "Stable-diffusion"

    @property
    def log(self) -> str:
        """What this web UI wrote to its console so far, all starts together."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def _prepare(self, options: Mapping[str, Any], extensions: Sequence[Path]) -> None:
        for folder in (self.data_dir / "extensions", self.lora_dir, self.models_dir):
            folder.mkdir(parents=True, exist_ok=True)
        for extension in extensions:
            name = "train-lora" if extension == PROJECT else extension.name
            link_extension(extension, self.data_dir / "extensions" / name)
        if not self.spec.listed:
            for file in checkpoint_files(self.spec.checkpoint):
                link(file, self.models_dir / file.name)
        config = self.data_dir / "config.json"
        if not config.exists():
            needed = json.loads(os.environ.get("WEBUI_OPTIONS", "{}"))
            config.write_text(json.dumps({"sd_model_checkpoint": self.spec.checkpoint.name, **needed, **options}))

    def start(self, timeout: float = 600) -> WebUI:
        """Returns when the web UI says that it is ready; raises RuntimeError with the end of its log otherwise."""
        begin = len(self.log)
        flags = [*self.args, "--port", str(self.port), "--data-dir", str(self.data_dir)]
        env = {**_OFFLINE, **os.environ, "PYTHONUNBUFFERED": "1"}
        env.pop("PYTHONPATH", None)  # the tests' own; the web UI has its environment
        if env.get("WEBUI_CARD"):
            env["PYTHONPATH"] = str(CARD)
        command = [str(self.spec.python), "-u", "launch.py", *flags]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.spec.folder, env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        self.wait_for_log(_READY, timeout, begin)
        return self

    def wait_for_log(self, text: str, timeout: float = 120, begin: int = 0) -> str:
        """The log from `begin` on, once `text` is in it; RuntimeError when the web UI ends or takes too long."""
        deadline = time.monotonic() + timeout
        while text not in (log := self.log[begin:]):
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"The web UI ended before {text!r}:\n{log[-4000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"No {text!r} after {timeout} s:\n{log[-4000:]}")
            time.sleep(0.2)
        return log

    def stop(self) -> None:
        """As a user who closes the terminal."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """As a power cut: nothing is cleaned up."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)

    def __enter__(self) -> WebUI:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def request(
        self, method: str, path: str, body: Any = None, timeout: float = 300, **headers: str
    ) -> tuple[int, Any]:
        """(status, JSON or text); `headers` with _ for -; a body of bytes is sent as it is. Errors are returned."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not body:
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(self.base_url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _decoded(error.read())

    def get(self, path: str, timeout: float = 300) -> Any:
        return self._ok(path, *self.request("GET", path, timeout=timeout))

    def post(self, path: str, body: Any = None, timeout: float = 300) -> Any:
        return self._ok(path, *self.request("POST", path, {} if body is None else body, timeout=timeout))

    def _ok(self, path: str, status: int, answer: Any) -> Any:
        assert status == 200, f"{path}: {status} {json.dumps(answer, indent=1)[:4000]}"
        return answer

    def txt2img(self, prompt: str, seed: int = 1, steps: int = 4, size: int = 64, **more: Any) -> Image.Image:
        """A picture by the web UI's own API, pixels only, so that equal means equal pixels."""
        asked = {"prompt": prompt, "seed": seed, "steps": steps, "width": size, "height": size, "cfg_scale": 5}
        answer = self.post("/sdapi/v1/txt2img", {**asked, "sampler_name": "Euler a", **more})
        image = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
        return Image.frombytes("RGB", image.size, image.convert("RGB").tobytes())

    def rounding(self) -> float:
        """How far what it computes may be from what we do, relative to the largest; half precision, on a card only."""
        status = self.post("/probe/status")
        return 0.05 if status["card"] and status["precision"] != "fp32" else 1e-5

    def login(self, user: str, password: str) -> None:
        """As on the page's login form; later requests are that session's. The web UI runs with --gradio-auth."""
        form = urllib.parse.urlencode({"username": user, "password": password}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.base_url}/login", form), timeout=60) as answer:
            cookies = [cookie.split(";")[0] for cookie in answer.headers.get_all("Set-Cookie")]
        self.headers["Cookie"] = "; ".join(cookie for cookie in cookies if "unsecure" in cookie)

    def choose(self, name: str) -> str:
        """Choose a checkpoint as the page's list does; its title. Files put into `models_dir` are found."""
        self.post("/sdapi/v1/refresh-checkpoints")
        titles = [model["title"] for model in self.get("/sdapi/v1/sd-models")]
        title = next(title for title in titles if title.startswith(name))
        if self.get("/sdapi/v1/options")["sd_model_checkpoint"] != title:
            self.post("/sdapi/v1/options", {"sd_model_checkpoint": title})
        return title

    def load(self, name: str) -> str:
        """Choose a checkpoint, and draw with it where nothing is loaded before; its title."""
        title = self.choose(name)
        if not self.spec.kind.loads_at_once:
            self.txt2img("anything")
        return title

    def use_vae(self, path: Path | None) -> None:
        """Draw with this VAE, which lies in the folder for them, from now on; None: with the checkpoint's own."""
        if self.spec.kind.loads_at_once:
            self.post("/sdapi/v1/refresh-vae")
            self.post("/sdapi/v1/options", {"sd_vae": path.name if path else "None"})
            if path is None and not self.spec.kind.restores_vae:
                self.post("/probe/load_anew")
        else:
            self.post("/probe/additional_modules", {"paths": [str(path)] if path else []})
            self.txt2img("anything")


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", errors="replace")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def checkpoint_files(checkpoint: Path) -> list[Path]:
    """The checkpoint and the `.yaml` beside it."""
    return [path for path in (checkpoint, checkpoint.with_suffix(".yaml")) if path.exists()]


def link(source: Path, target: Path) -> None:
    """A symbolic link; a copy where the system has none."""
    if target.exists():
        return
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


def link_extension(source: Path, target: Path) -> None:
    """A folder of links, without git's (the web UI would look for where the extension came from)."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if not entry.name.startswith("."):
            link(entry, target / entry.name)
