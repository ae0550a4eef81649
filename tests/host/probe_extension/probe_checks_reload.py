"""What the page's "Reload UI" button does, and reForge's way to load a checkpoint once more."""

from __future__ import annotations


def reload_ui() -> dict:
    from modules import shared

    shared.state.request_restart()
    return {}


def load_anew() -> dict:
    from modules import call_queue, sd_models

    with call_queue.queue_lock:
        sd_models.reload_model_weights(forced_reload=True)
    return {}
