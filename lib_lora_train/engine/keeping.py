"""What a run leaves behind while it goes: LoRA files and sample pictures in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL.Image import Image

from ..adapters.adapter_set import AdapterSet
from ..errors import ExportError, OutOfMemory
from ..events import Control, Event, Phase, Sampled, Snapshot, Warned
from ..export import lora_file, metadata
from ..export.folder import RunFolder, explained, written
from ..export.names import SUFFIX, check_name
from ..families.loan import Loan
from ..objectives.objective import Objective
from ..sampling.draw import SampleRequest, draw
from ..settings.schema import Settings
from .memory import guarded
from .position import Position

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "float": torch.float32}


@dataclass
class Keeper:
    """`facts` is what the metadata says about the run as a whole; `substitute` the optimiser used in place of the
    recipe's, with its arguments, "" for none."""

    loan: Loan
    settings: Settings
    folder: RunFolder
    adapters: AdapterSet
    objective: Objective
    dtype: torch.dtype
    facts: metadata.RunFacts
    requests: list[SampleRequest]
    substitute: str = ""
    averaged: Callable[[], AbstractContextManager[None]] = nullcontext  # in it the weights are those to keep

    def snapshot(self, at: Position, final: bool = False) -> Snapshot:
        """Writes a LoRA file. Raises ExportError as the file system refuses; nothing is half there then."""
        path = self.folder.snapshots / self._file_name(at, final)
        begun = at.epoch if at.epoch_ended else at.epoch + 1
        epoch = begun if final else at.epoch  # as sd-scripts counts: a snapshot's are the finished ones
        facts = replace(self.facts, steps=at.step, epoch=epoch, finished_at=time.time())
        with self.averaged():
            tensors = self.adapters.state_dict(DTYPES[self.settings.saving.save_precision])
        written_as = {"ss_optimizer": self.substitute} if self.substitute else {}
        lora_file.save(path, tensors, metadata.build(self.settings, facts) | written_as)
        return Snapshot(step=at.step, epoch=at.epoch, path=self.folder.relative(path), final=final)

    def _file_name(self, at: Position, final: bool) -> str:
        """As sd-scripts names them."""
        name = check_name(self.settings.naming.output_name)
        if final:
            return name + SUFFIX
        if at.epoch_ended and at.due(0, self.settings.saving.save_every_n_epochs):
            return f"{name}-{at.epoch:06d}{SUFFIX}"
        return f"{name}-step{at.step:08d}{SUFFIX}"

    def samples(self, at: Position, control: Control) -> Iterator[Event]:
        """A row of pictures, one per prompt, with the same seeds in every row. A picture that cannot be drawn or
        written is told; the training goes on."""
        for index, request in enumerate(self.requests):
            if control.stopped:
                return
            yield Phase(name="sample", text=request.prompt, done=index, total=len(self.requests))
            try:
                yield self._sample(at, index, request)
            except (OutOfMemory, ExportError) as error:
                yield Warned(text=f"A sample is missing: {error.message}", remedy=error.remedy)
                return

    def _sample(self, at: Position, index: int, request: SampleRequest) -> Sampled:
        with guarded(self.settings, "sample"), self.averaged():
            image = draw(self.loan, request, self.objective, self.dtype)
        path = self.folder.samples / f"{at.step:08d}-{index:02d}.png"
        _write(image, path)
        path_there = self.folder.relative(path)
        return Sampled(step=at.step, index=index, prompt=request.prompt, seed=request.seed, path=path_there)


def _write(image: Image, path: Path) -> None:
    with explained(path), written(path) as beside:
        image.save(beside, "PNG")
