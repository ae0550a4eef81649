"""From a run to its state and back, and the refusal to go on with something else than was begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..data.plan import Plan
from ..errors import DataError, HostError, SettingsError
from ..families.loan import Identity
from ..settings.load import to_mapping
from ..settings.schema import Settings
from . import state
from .bake import Bake
from .state import State

_FREE_GROUPS = ("naming", "saving")  # may change between two halves of a run
_FREE = {"vae_batch_size", "cache_latents_to_disk", "cache_size_gb", "gradient_checkpointing"}
_NAMED = 5
_ADAPTERS = "adapters/"


def capture(bake: Bake, seconds: float) -> State:
    """Everything that going on bit for bit needs. `seconds` is how long the run took so far."""
    at, stepper = bake.position, bake.stepper
    values = {
        "step": at.step,
        "epoch": at.epoch,
        "batch": at.batch,
        "skipped": stepper.skipped,
        "in_a_row": stepper.in_a_row,
        "scaler": stepper.scaler.state(),
        "meter": bake.meter.state(),
        "optimizer_kind": stepper.built.kind,
        "precision": bake.keeper.facts.mixed_precision,
        "session_id": bake.keeper.facts.session_id,
        "started_at": bake.keeper.facts.started_at,
        "seconds": seconds,
        "recipe": fixed(bake.settings),
        "pictures": pictures(bake.plan),
        "fingerprint": bake.plan.fingerprint,
        "checkpoint": checkpoint(bake.loan.identity),
    }
    adapters = {f"{_ADAPTERS}{name}": tensor for name, tensor in bake.adapters.state_dict().items()}
    optimizer = state.flatten(stepper.built.optimizer.state_dict(), "optimizer")
    return state.merged([State(adapters, values), optimizer])


def restore(bake: Bake, found: State) -> None:
    """Puts `bake` where the state was taken. Raises SettingsError, DataError or HostError when recipe, pictures or
    checkpoint are not those of the run."""
    refuse_changes(bake, found.values)
    values, stepper = found.values, bake.stepper
    at = bake.position
    at.step, at.epoch, at.batch = values["step"], values["epoch"], values["batch"]
    stepper.skipped, stepper.in_a_row = values["skipped"], values["in_a_row"]
    stepper.scaler.restore(values["scaler"])
    bake.meter.restore(values["meter"])
    # the same run to whoever publishes its files
    bake.keeper.facts = replace(bake.keeper.facts, session_id=values["session_id"], started_at=values["started_at"])
    bake.adapters.load_state_dict(weights_in(found))
    stepper.built.optimizer.load_state_dict(state.unflatten(found, "optimizer"))


def weights_in(found: State) -> dict[str, Tensor]:
    """The adapters' tensors of a saved state, by file key."""
    return {
        name.removeprefix(_ADAPTERS): tensor for name, tensor in found.tensors.items() if name.startswith(_ADAPTERS)
    }


def refuse_changes(bake: Bake, values: Mapping[str, Any]) -> None:
    """Recipe, pictures, checkpoint, optimiser and precision must be those the run was begun with."""
    refuse_recipe(values["recipe"], fixed(bake.settings))
    if values["fingerprint"] != bake.plan.fingerprint:
        what = _difference(values["pictures"], pictures(bake.plan))
        raise DataError(
            f"The pictures were changed since this run was begun{what}.",
            "Put them back as they were, or train anew.",
        )
    before, now = values["checkpoint"], checkpoint(bake.loan.identity)
    if not _same_checkpoint(before, now):
        raise HostError(
            f"The run was begun on {before['title']}; now {now['title']} is loaded.", f"Load {before['title']}."
        )
    used = (bake.stepper.built.kind, bake.keeper.facts.mixed_precision)
    if used != (values["optimizer_kind"], values["precision"]):
        raise SettingsError(
            f"The run was begun with {values['optimizer_kind']} in {values['precision']}; here it would go on with "
            f"{used[0]} in {used[1]}.",
            "Go on where the same device and packages are, or train anew.",
            "optimizer_type",
        )


def fixed(settings: Settings) -> dict[str, Any]:
    """What may not change within a run, by field name."""
    free = {name for group in _FREE_GROUPS for name in getattr(settings, group).__struct_fields__} | _FREE
    return {name: value for name, value in to_mapping(settings).items() if name not in free}


def pictures(plan: Plan) -> dict[str, str]:
    """What each picture contributes, by its name, to say which one changed."""
    return {
        f"{r.path.parent.name}/{r.path.name}": f"{r.digest}{r.mask_digest} {r.repeats} {r.caption}"
        for r in plan.records
    }


def checkpoint(identity: Identity) -> dict[str, str]:
    return {"title": identity.title, "sha256": identity.sha256, "path": identity.path, "vae": identity.vae}


def _same_checkpoint(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    """By content where it is known, so that a renamed file is the same."""
    if a["vae"] != b["vae"]:
        return False
    if a["sha256"] and b["sha256"]:
        return a["sha256"] == b["sha256"]
    return (a["path"] or a["title"]) == (b["path"] or b["title"])


def refuse_recipe(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises SettingsError naming what differs between the recipe of a run and the one it would go on with."""
    before = fixed(Settings()) | before  # an option that is newer than the run had its default's effect
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        said = ", ".join(f"{name} (was {before.get(name)}, is {now[name]})" for name in changed[:_NAMED])
        raise SettingsError(
            f"The recipe was changed since this run was begun: {said}.", "Set it back, or train anew.", changed[0]
        )


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    parts = {
        "new": sorted(set(now) - set(before)),
        "gone": sorted(set(before) - set(now)),
        "changed": sorted(name for name in set(now) & set(before) if now[name] != before[name]),
    }
    said = [f"{word}: {', '.join(names[:_NAMED])}" for word, names in parts.items() if names]
    return f" ({'; '.join(said)})" if said else ""
