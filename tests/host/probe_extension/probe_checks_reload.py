"""What the page's "Reload UI" button does."""

from __future__ import annotations


def reload_ui() -> dict:
    from modules import shared

    shared.state.request_restart()
    return {}
