"""A queue of recipes: trained one after the other; one that fails does not stop the rest; a file keeps it."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import TrainLoraError
from ..events import Failed
from ..export.folder import explained, written
from ..settings.load import from_mapping, to_mapping
from ..settings.schema import Settings
from . import fitness
from .refusals import Conflict, NotFound

if TYPE_CHECKING:
    from .jobs import JobRunner

log = logging.getLogger(__name__)
_CUT_SHORT = "The web UI ended while it was trained. Continue it in Results, or try again."


class Entry(msgspec.Struct, frozen=True):
    """`run` once it is trained; `problem`: why it failed, it is left alone then."""

    id: str
    settings: dict[str, Any]
    overwrite: bool = False
    run: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        return str(self.settings.get("output_name", ""))

    @property
    def waits(self) -> bool:
        return not (self.run or self.problem)


_entries = msgspec.json.Decoder(list[Entry])  # made here: see settings.load


class Queue:
    """Thread-safe. Trains only between `start` and `hold`: after a restart of the web UI the user starts it."""

    def __init__(self, runner: JobRunner):
        self._runner = runner
        self._lock = threading.RLock()
        self._going = False
        self._list: list[Entry] | None = None
        self._version = 0

    def as_dict(self) -> dict[str, Any]:
        """`{going, entries: [{id, name, settings, run, problem}]}`."""
        with self._lock:
            rows = [{**msgspec.structs.asdict(entry), "name": entry.name} for entry in self._all()]
            return {"going": self._going, "entries": rows}

    def summary(self) -> dict[str, Any]:
        """`{going, waiting, version}`; `version` changes with the list."""
        with self._lock:
            waiting = sum(entry.waits for entry in self._all())
            return {"going": self._going, "waiting": waiting, "version": self._version}

    def add(self, settings: Settings, overwrite: bool = False) -> str:
        """At the end; its id. Refused at the click as a run is: raises as `fitness.checked`, Conflict for a name that
        waits already."""
        fitness.checked(settings, self._runner.host, overwrite)
        entry = Entry(secrets.token_hex(6), to_mapping(settings), overwrite)
        with self._lock:
            if not overwrite and any(entry.name == other.name and not other.problem for other in self._all()):
                raise Conflict(f"“{entry.name}” waits in the queue already.", "Choose another name.", "output_name")
            self._keep([*self._all(), entry])
        return entry.id

    def remove(self, entry_id: str) -> None:
        """Raises NotFound, Conflict for the one that is being trained."""
        with self._lock:
            entry = self._find(entry_id)
            if entry.run and not entry.problem:
                raise Conflict(f"“{entry.name}” is being trained.", "Stop it first.")
            self._keep([other for other in self._all() if other.id != entry_id])

    def move(self, entry_id: str, place: int) -> None:
        """To the place in the list, counted from 0. Raises NotFound."""
        with self._lock:
            entry = self._find(entry_id)
            others = [other for other in self._all() if other.id != entry_id]
            place = max(0, min(place, len(others)))
            self._keep([*others[:place], entry, *others[place:]])

    def again(self, entry_id: str) -> None:
        """A failed one waits again. Raises NotFound."""
        self._change(entry_id, run="", problem="")

    def start(self) -> None:
        """Train what waits, after the job that is on. Starting twice is starting once."""
        with self._lock:
            if not any(entry.waits for entry in self._all()):
                raise Conflict("Nothing waits in the queue.", "Add a recipe first.")
            if self._going:
                return
            self._going = True
            threading.Thread(target=self._work, name="train-lora queue", daemon=True).start()

    def hold(self) -> None:
        """Nothing new is begun; the run that is on goes on."""
        with self._lock:
            self._going = False

    # inside

    def _work(self) -> None:
        try:
            while entry := self._next():
                self._train(entry)
        except Exception:
            log.exception("Train LoRA: the queue stopped")
            self.hold()

    def _next(self) -> Entry | None:
        with self._lock:
            entry = next((entry for entry in self._all() if entry.waits), None) if self._going else None
            self._going = entry is not None
            return entry

    def _train(self, entry: Entry) -> None:
        """Begins it when the runner is free, waits for its end, notes what became of it."""
        if not self._runner.wait(0.5):
            return
        try:
            run = self._runner.start(from_mapping(entry.settings), entry.overwrite)
        except TrainLoraError as error:
            if isinstance(error, Conflict) and not error.field:  # somebody else began something meanwhile
                time.sleep(0.5)
            else:
                self._change(entry.id, problem=str(error))
            return
        job = self._runner.job
        self._change(entry.id, run=run)
        job.over.wait()
        failed = job.journal.latest(Failed)
        if failed is not None:
            self._change(entry.id, problem=f"{failed.text} {failed.remedy}".strip())
            return
        with self._lock:
            self._keep([other for other in self._all() if other.id != entry.id])

    def _change(self, entry_id: str, **values: Any) -> None:
        with self._lock:
            changed = msgspec.structs.replace(self._find(entry_id), **values)
            self._keep([changed if entry.id == entry_id else entry for entry in self._all()])

    def _find(self, entry_id: str) -> Entry:
        found = next((entry for entry in self._all() if entry.id == entry_id), None)
        if found is None:
            raise NotFound("That is not in the queue any more.", "Look at the list again.")
        return found

    def _all(self) -> list[Entry]:
        """Read once per process; what was trained when the last one ended was cut short."""
        if self._list is None:
            found = _read(self._path)
            cut = [msgspec.structs.replace(e, problem=_CUT_SHORT) if e.run and not e.problem else e for e in found]
            self._list = cut
        return self._list

    def _keep(self, entries: list[Entry]) -> None:
        with explained(self._path), written(self._path) as beside:
            beside.write_bytes(msgspec.json.encode(entries))
        self._list, self._version = entries, self._version + 1

    @property
    def _path(self) -> Path:
        return self._runner.host.data_dir() / "queue.json"


def _read(path: Path) -> list[Entry]:
    """Nothing of a missing file; a damaged one is told in the log."""
    try:
        return _entries.decode(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning("Train LoRA: the queue %s cannot be read: %s", path, error)
        return []
