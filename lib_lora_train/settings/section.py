"""What every group of options is made of: the base of the groups, and one option's description."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Meta


def option(
    label: str, help: str, *, unit: str = "", advice: tuple | None = None, ge=None, le=None, **text: Any
) -> Meta:
    """Label and help for people, hard bounds `ge` and `le`, `advice`: the range guides recommend."""
    extra = {"label": label, "unit": unit, "advice": advice}
    return Meta(ge=ge, le=le, description=help, extra=extra, **text)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the groups below. Field names are unique over all groups, so a flat mapping is unambiguous."""
