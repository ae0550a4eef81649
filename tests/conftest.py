"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint in SD1 layout (epsilon, fp32) with its yaml; do not change it."""
    from demo import tiny

    return tiny.make(tmp_path_factory.mktemp("checkpoint"))
