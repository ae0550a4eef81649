"""One loan from its first tensor to its last: borrowing, stepping aside for the host, finding the tensors again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ...errors import CheckpointSwitched, HostError
from ...families.borrow import Source, borrow, rebind
from ...families.loan import Identity, Loan
from ..lock import LockHold
from . import tensors
from .kind import Kind


class Lending:
    """`hold` is the lock, held when `begin` is called. The host's own modules are read, never changed, except that
    merged LoRAs are taken out of them."""

    def __init__(self, hold: LockHold, kind: Kind):
        self.hold = hold
        self.loan: Loan | None = None
        self.model: Any = None  # what is lent, as the kind knows it
        self._kind = kind
        self._addresses: tuple[int, ...] = ()  # of the borrowed tensors; () when the loan's modules have none
        self._storages: frozenset[int] = frozenset()  # in which they lie
        self._copied = False

    def begin(self) -> Loan:
        """Raises HostError when what is loaded cannot be trained."""
        self.model = self._kind.ready()
        source = self._source()
        self.loan = self._kind.loan(self.model, borrow(source))
        self._note(source)
        if self._copied:
            self.loan.notes.append(
                "The checkpoint is not on the graphics card; a copy of it is put there while training."
            )
        return self.loan

    def end(self) -> None:
        """The modules let go of the host's tensors, so that nobody computes on them without the lock."""
        self._let_go()

    def step_out(self) -> None:
        """Free the lock. Nothing happens when a switched checkpoint has freed it already."""
        self._make_room()
        self.hold.give()

    def step_in(self) -> None:
        """Take the lock again; raises CheckpointSwitched, without the lock, when another checkpoint is loaded."""
        self.hold.take()
        self._renew()

    @contextmanager
    def host_at_work(self) -> Iterator[None]:
        """The host may use its model inside the block; the lock stays held. Raises CheckpointSwitched as `step_in`."""
        self._make_room()
        try:
            yield
        finally:
            self._renew()

    def _source(self) -> Source:
        source, self._copied = self._kind.source(self.model)
        return source

    def _note(self, source: Source) -> None:
        self._addresses, self._storages = tensors.addresses(source), tensors.storages(source)

    def _renew(self) -> None:
        """LoRAs out, and the loan's modules on the tensors as they are now."""
        try:
            found = self._kind.again(self.model)
            _same(self.loan.identity, self._kind.identity_of(found))
            self.model = found
            source = self._source()
            if tensors.addresses(source) != self._addresses:
                rebind(self.loan, source)
                self._note(source)
        except HostError as error:
            self._let_go()
            self.hold.give()
            if isinstance(error, CheckpointSwitched):
                raise
            raise CheckpointSwitched(error.message, error.remedy) from error

    def _make_room(self) -> None:
        if self._copied or self._kind.moves_weights:
            self._let_go()

    def _let_go(self) -> None:
        if self.loan is None or not self._addresses:
            return
        for module in (self.loan.unet, *self.loan.text_encoders, self.loan.vae):
            _empty(module, self._storages)
        self._addresses = ()
        if self._copied:
            tensors.free_memory()


def _same(began: Identity, now: Identity) -> None:
    if now.key == began.key:
        return
    if now.path == began.path:
        name = began.vae or "the checkpoint's own"
        raise CheckpointSwitched("Another VAE is loaded than the one this run began on.", f"Choose {name} to go on.")
    raise CheckpointSwitched(
        f"The web UI has loaded {now.title}, but this run began on {began.title}.", f"Choose {began.title} to go on."
    )


def _empty(module: nn.Module, storages: frozenset[int]) -> None:
    """Parameters in these storages become shapes without data; what else hangs on the module stays."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.untyped_storage().data_ptr() in storages:
                part._parameters[name] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
