"""WebUIHost: the Host protocol on a web UI of A1111's line, whichever kind it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL.Image import Image

from ...errors import HostError
from ...families.loan import Identity, Loan
from ..base import Guard, HostStatus, PictureRequest
from ..guard import guard_of, within
from ..lock import LockHold
from .kind import Kind
from .lending import Lending


class WebUIHost:
    """See hosts/base.py for what the methods promise."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._lendings: list[Lending] = []

    @property
    def name(self) -> str:
        return self._kind.name

    def status(self) -> HostStatus:
        return self._kind.status()

    @contextmanager
    def lend(self) -> Iterator[Loan]:
        if any(lending.hold.owner is threading.current_thread() for lending in self._lendings):
            raise HostError("This thread has borrowed the checkpoint already.", "Give it back first.")
        with _hold() as hold:
            lending = Lending(hold, self._kind)
            self._lendings.append(lending)
            try:
                yield lending.begin()
            finally:
                self._lendings.remove(lending)
                lending.end()

    @contextmanager
    def away(self, loan: Loan) -> Iterator[None]:
        lending = self._of(loan)
        lending.step_out()
        try:
            yield
        finally:
            lending.step_in()

    def breathe(self, loan: Loan) -> bool:
        hold = self._of(loan).hold
        if hold.held and not hold.waited_for:
            return False
        with self.away(loan):
            return True

    def txt2img(self, request: PictureRequest) -> list[Image]:
        lending = next((lending for lending in self._lendings if lending.hold.ours), None)
        if lending is not None:
            with lending.host_at_work():
                return self._kind.draw(request, lending.model)
        with _hold():
            return self._kind.draw(request, None)

    def identity(self) -> Identity | None:
        return self._kind.next_identity()

    def checkpoints(self) -> list[str]:
        from modules import sd_models

        return sorted(info.title for info in sd_models.checkpoints_list.values())

    def lora_dir(self) -> Path:
        from modules import shared

        return Path(shared.cmd_opts.lora_dir)

    def data_dir(self) -> Path:
        from modules import paths

        return Path(paths.data_path) / "train-lora"

    def release(self, path: Path) -> None:
        """Also takes the file's weights out of the checkpoint, now or as soon as the lock is free."""
        self._kind.let_go(path)
        if self._kind.is_merged(path):
            self._with_lock(self._kind.take_out)

    def publish(self, path: Path) -> None:
        self.release(path)
        self._kind.show(path)

    def guard(self) -> Guard:
        from modules import shared

        return guard_of(shared.cmd_opts)

    def allowed_folder(self, path: Path) -> bool:
        from modules import paths

        guard = self.guard()
        return not guard.open_to_network or guard.insecure_allowed or within(path, Path(paths.data_path))

    def _of(self, loan: Loan) -> Lending:
        return next(lending for lending in self._lendings if lending.loan is loan)

    def _with_lock(self, act: Callable[[], None]) -> None:
        """Now when this thread holds the lock or it is free; else from a thread of its own, in its turn."""
        if any(lending.hold.ours for lending in self._lendings):
            act()
            return

        def in_turn() -> None:
            with _hold():
                act()

        waiting = threading.Thread(target=in_turn, name="train-lora takes a LoRA out", daemon=True)
        waiting.start()
        waiting.join(timeout=0.5)


def _hold() -> LockHold:
    from modules import call_queue

    return LockHold(call_queue.queue_lock)
