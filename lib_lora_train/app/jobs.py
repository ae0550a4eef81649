"""The job runner: one run at a time on a worker thread; page, API and command line only ask and read here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..engine.run import run
from ..errors import HostError
from ..events import Control, Event, Paused, Phase, Progress, Resumed
from ..export.folder import RunFolder
from ..hosts.base import Host
from ..settings import recipe
from ..settings.schema import Settings
from . import fitness, runs, trust, wishes
from .chore import Chore, Work
from .claim import claim
from .drive import Drive, Job
from .journal import Journal, as_dicts
from .queue import Queue
from .refusals import Conflict, NotFound

_AT_ONCE = 5000  # events in one answer

WISHES: dict[str, Callable[[Control], None]] = {
    "pause": Control.pause,
    "resume": Control.resume,
    "stop": Control.stop,
    "save": Control.save_now,
    "sample": Control.sample_now,
}


class JobRunner:
    """Thread-safe. `engine` is `engine.run.run` unless a test plays another."""

    def __init__(self, host: Host | None = None, engine: Callable[..., Iterator[Event]] = run):
        self._given = host
        self._engine = engine
        self._lock = threading.Lock()
        self._job: Job | Chore | None = None  # the newest one, also after its end
        self.queue = Queue(self)

    def use(self, host: Host) -> None:
        """Runs from now on are made on `host`; one that is on stays where it is."""
        self._given = host

    @property
    def host(self) -> Host:
        if self._given is None:
            raise HostError("Train LoRA is not connected to a web UI yet.", "Wait until the web UI has started.")
        return self._given

    def start(self, settings: Settings, confirm_overwrite: bool = False) -> str:
        """Begin a run; its id. Raises Conflict when a run is on, and as `fitness.checked`."""
        with self._lock:
            self._refuse_second()
            settings = fitness.checked(settings, self.host, confirm_overwrite)
            folder = runs.create(self.host.data_dir(), settings, confirm_overwrite)
            return self._begin(folder, settings, resume=False)

    def continue_run(self, run_id: str) -> str:
        """Go on with a run that was interrupted, stopped or failed. Raises NotFound, Conflict, SettingsError."""
        with self._lock:
            self._refuse_second()
            folder = runs.find(self.host.data_dir(), run_id)
            settings = recipe.read(folder.recipe)
            trust.check_folders(settings, self.host)
            state = runs.state_of(runs.events(folder)[0])
            if not runs.can_resume(folder, state):
                raise Conflict(
                    f"The run {run_id} cannot go on: "
                    + ("it is finished." if state == "done" else "nothing of it had been saved yet."),
                    "Train again with its recipe.",
                )
            return self._begin(folder, settings, resume=True)

    def begin_chore(self, kind: str, name: str, work: Callable[[Host], Work], pausable: bool = True) -> str:
        """Begin a job that is no training; its id. `work` checks, under the same lock. Raises Conflict when something
        is on, and as `work`."""
        with self._lock:
            self._refuse_second()
            chore = Chore(f"{kind}-{time.time_ns():x}", kind, name, work(self.host), pausable=pausable)
            self._job = chore
            threading.Thread(target=chore.run, name=f"train-lora {chore.id}", daemon=True).start()
            return chore.id

    @property
    def job(self) -> Job | Chore | None:
        """The newest run of this process, also after its end."""
        return self._job

    @property
    def control(self) -> Control:
        """Of the run that is on. Raises Conflict when none is."""
        return self._running().control

    def tell(self, wish: str) -> None:
        """One of WISHES. Raises Conflict when no run is on."""
        WISHES[wish](self.control)

    def change(self, values: dict[str, Any]) -> None:
        """Samples and intervals of the run that is on, by option. Raises Conflict when none is, SettingsError."""
        job = self._running()
        if not isinstance(job, Job):
            raise Conflict(f"“{job.name}” is no training.", "Wait for it.")
        job.control.change(wishes.checked(values, job.settings))

    def status(self) -> dict[str, Any] | None:
        """`{id, kind, name, state, progress, phase, paused_text}` of the run that is on, or None."""
        job = self._job
        if job is None or job.over.is_set():
            return None
        paused = job.journal.latest(Paused, Resumed)
        return {
            "id": job.id,
            "kind": job.kind,
            "name": job.name,
            "state": "stopping" if job.control.stopped else "paused" if isinstance(paused, Paused) else "running",
            "progress": _plain(job.journal.latest(Progress)),
            "phase": _plain(job.journal.latest(Phase)),
            "paused_text": paused.text if isinstance(paused, Paused) else "",
        }

    def events(self, run_id: str = "", after: int = 0) -> dict[str, Any]:
        """`{events, next}` of a run, the newest when `run_id` is empty. Raises NotFound."""
        past, start = self._events(run_id), max(after, 0)
        some = past[start : start + _AT_ONCE]
        return {"events": as_dicts(some), "next": min(start, len(past)) + len(some)}

    def wait(self, timeout: float | None = None) -> bool:
        """Until the newest run is over; False when `timeout` seconds did not suffice."""
        job = self._job
        return job is None or job.over.wait(timeout)

    def _events(self, run_id: str) -> list[Event]:
        job = self._job
        if job is not None and run_id in ("", job.id):
            return job.journal.all()
        if not run_id:
            raise NotFound("Nothing was trained since the web UI was started.", "Choose one of the list of runs.")
        return runs.events(runs.find(self.host.data_dir(), run_id))[0]

    def _running(self) -> Job | Chore:
        job = self._job
        if job is None or job.over.is_set():
            raise Conflict("No run is on.", "Start one first.")
        return job

    def _refuse_second(self) -> None:
        job = self._job
        if job is not None and not job.over.is_set():
            raise Conflict(f"“{job.name}” is being {job.doing} already.", "Wait for it, or stop it first.")

    def _begin(self, folder: RunFolder, settings: Settings, resume: bool) -> str:
        held = claim(folder)  # before anything in it is touched
        try:
            if resume:
                folder.make().tidy()
            journal = Journal(folder.events, resume)
        except Exception:
            held.release()
            raise
        job = Job(settings, folder, journal, resume, release=held.release)
        drive = Drive(job, self.host, self._engine)
        self._job = job
        # A daemon, so that the program can end at any time: what is on disk lets the run go on later.
        threading.Thread(target=drive.run, name=f"train-lora {job.id}", daemon=True).start()
        return job.id


def _plain(event: Event | None) -> dict[str, Any] | None:
    return None if event is None else msgspec.to_builtins(event)


# "Reload UI" executes the extension's scripts again, while imported packages stay as they are: made at import, the
# runner is found again there together with the run that is on.
_ONE = JobRunner()


def runner() -> JobRunner:
    """The process's one."""
    return _ONE
