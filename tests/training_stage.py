"""A small recipe for trainings of the whole program, and waiting for what they do."""

from __future__ import annotations

import time

from app_stage import pictures, recipe

TINY = {
    "resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 128, "max_token_length": 75, "network_dim": 2,
    "network_alpha": 2, "lr_scheduler": "constant", "learning_rate": 1e-2, "max_train_steps": 6, "sample_steps": 2,
    "save_every_n_steps": 3, "sample_every_n_steps": 3, "mixed_precision": "no",
}  # fmt: skip


def small_recipe(root, **values):
    folder = root / "set"
    return recipe(folder if folder.exists() else pictures(folder), **{**TINY, **values})


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)
