"""What a run tells (frozen events) and what it can be told (Control); nothing else may be in here."""

from __future__ import annotations

import threading
from typing import Union

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="event", kw_only=True, omit_defaults=False):
    """Base of all events. `t` is seconds since the epoch, filled in by whoever records the event."""

    t: float = 0.0


class Phase(Event):
    """A stage with its own progress: borrow, scan, latents, text, train, sample, save, publish; draw (other jobs)."""

    name: str
    text: str = ""
    done: int = 0
    total: int = 0


class Progress(Event):
    """After every optimiser step. `loss` is the mean over the step's samples, `lr` by group name."""

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float
    loss_smooth: float
    lr: dict[str, float]
    it_per_s: float = 0.0
    eta_s: float = 0.0
    memory_gb: float = 0.0
    skipped: int = 0


class Sampled(Event):
    """A sample picture was drawn; `path` is relative to the run folder."""

    step: int
    index: int
    prompt: str
    seed: int
    path: str


class Snapshot(Event):
    """A LoRA file was written; `path` is relative to the run folder. `final` marks the last one."""

    step: int
    epoch: int
    path: str
    final: bool = False


class Warned(Event):
    """Something the user should know; the run goes on."""

    text: str
    remedy: str = ""


class Paused(Event):
    """The run waits: on the user's word (`reason="user"`), for the checkpoint (`reason="checkpoint"`), or, with
    everything trained, for a disk that takes the file (`reason="disk"`)."""

    reason: str
    text: str = ""


class Resumed(Event):
    """The run goes on after Paused."""


class Changed(Event):
    """Samples and intervals were changed while it ran: options of the group `saving`. What is trained is not."""

    saving: dict


class Published(Event):
    """A LoRA became visible in the host under `name` (as in `<lora:name:1>`)."""

    name: str
    path: str
    step: int
    thumbnail: str = ""


class Finished(Event):
    """The run is over. `reason`: done, or stopped (stop and keep). `seconds` counts the whole run."""

    step: int
    path: str
    reason: str = "done"
    seconds: float = 0.0
    seconds_to_first_step: float = 0.0


class Measured(Event):
    """What a trial of a recipe found. `memory_gb`: at most, besides what is loaded. `lower` is empty when the recipe
    fits, else what to change so that it does; the figures are those with it."""

    seconds_per_step: float
    memory_gb: float
    lower: dict = {}


class Done(Event):
    """A job that is no training is over. `reason`: done, or stopped."""

    text: str
    reason: str = "done"
    seconds: float = 0.0


class Failed(Event):
    """The run ended with an error; `lower` holds settings that would help (out of memory)."""

    text: str
    remedy: str = ""
    detail: str = ""
    lower: dict = {}
    can_resume: bool = False


AnyEvent = Union[
    Phase, Progress, Sampled, Snapshot, Warned, Paused, Resumed, Changed, Published, Finished, Measured, Done, Failed
]
_decoder = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """One line of `events.jsonl`, without the line break."""
    return _encoder.encode(event)


def decode(line: bytes | str) -> Event:
    """The event of one line; raises msgspec.ValidationError or DecodeError on anything else."""
    return _decoder.decode(line)


class Control:
    """Thread-safe wishes towards a running job. Asking twice is asking once; `stop` wins over `pause`."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._paused = self._stopped = self._save = self._sample = False
        self._change: dict = {}

    def pause(self) -> None:
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        with self._lock:
            self._paused = False
            self._lock.notify_all()

    def stop(self) -> None:
        """Stop after the current step and keep what was trained."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def save_now(self) -> None:
        with self._lock:
            self._save = True

    def sample_now(self) -> None:
        with self._lock:
            self._sample = True

    def change(self, saving: dict) -> None:
        """Options of the group `saving` from the next step on, by name; they have to be checked already."""
        with self._lock:
            self._change = {**self._change, **saving}

    @property
    def paused(self) -> bool:
        return self._paused and not self._stopped

    @property
    def stopped(self) -> bool:
        return self._stopped

    def take_save(self) -> bool:
        """True once per request."""
        with self._lock:
            wanted, self._save = self._save, False
            return wanted

    def take_sample(self) -> bool:
        """True once per request."""
        with self._lock:
            wanted, self._sample = self._sample, False
            return wanted

    def take_change(self) -> dict:
        """What was asked for since the last time, mostly nothing."""
        with self._lock:
            wanted, self._change = self._change, {}
            return wanted

    def take_stop(self) -> bool:
        """True once per request. It is served then, and a further one means something else."""
        with self._lock:
            wanted, self._stopped = self._stopped, False
            return wanted

    def wait(self, timeout: float) -> None:
        """Sleep until resumed or stopped, `timeout` seconds at most."""
        with self._lock:
            if not self._stopped:
                self._lock.wait(timeout)
