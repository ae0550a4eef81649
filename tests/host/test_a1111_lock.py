"""While a run holds the loan in the real A1111: what it does with the tensors of a switched checkpoint."""

from __future__ import annotations

import materials
import pytest
from harness import STEP_S, Spec, WebUI
from test_lock import STYLED, _lora, seen, steps_more  # noqa: F401 a fixture among them

pytestmark = pytest.mark.host


def test_it_goes_on_after_pictures(worker: WebUI):
    worker.txt2img(STYLED)
    report = steps_more(worker)
    assert report["generation"] == 0  # nothing moved, nothing was borrowed again


def test_a_switch_within_the_same_tensors_is_noticed_and_forgiven(worker: WebUI, spec: Spec):
    """Checkpoints of one config are loaded over each other in place."""
    yaml = spec.checkpoint.with_suffix(".yaml")
    if not yaml.exists():
        pytest.skip("checkpoints without .yaml share the web UI's own config; covered by the test before")
    for name, change in {"same-a.safetensors": 0.0, "same-b.safetensors": 0.05}.items():
        materials.other_checkpoint(spec.checkpoint, worker.models_dir / name, change, yaml=False)
    worker.post("/probe/worker_stop")
    worker.post("/probe/default_config", {"path": str(yaml)})
    worker.choose("same-a.safetensors")
    before = worker.post("/probe/addresses")
    worker.post("/probe/worker_start", {"step_s": STEP_S})
    worker.choose("same-b.safetensors")
    seen(worker, lambda report: report["switches"])
    if not worker.post("/probe/status")["card"]:  # onto a card it is moved anew
        assert worker.post("/probe/addresses") == before  # really in place
    worker.choose("same-a.safetensors")
    assert steps_more(worker)["error"] == ""
