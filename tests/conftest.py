"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint in SD1 layout (epsilon, fp32) with its yaml; do not change it."""
    from demo import tiny

    return tiny.make(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def program(tmp_path: Path, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture):
    """The whole program. After the test, whatever it did, a good run goes well and nothing lies about half-written."""
    from bad_input_stage import Program

    caplog.set_level("INFO", "lib_lora_train")
    program = Program(tmp_path, tiny_checkpoint, caplog)
    yield program
    program.still_works()
