"""Who may ask what: authentication as the host's, no foreign origins or names, only the allowed folders."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request

from ..errors import SettingsError
from ..hosts.base import Host
from ..hosts.guard import within
from ..settings.schema import Settings
from .refusals import Forbidden, Unauthorized


def check_request(request: Request, host: Host) -> None:
    """Before anything else is looked at. Raises Unauthorized or Forbidden."""
    if foreign(request):
        raise Forbidden(
            "This request comes from another web site.",
            "Use the Train LoRA tab of the web UI, or a program of your own.",
        )
    guard = host.guard()
    name = guard.misnamed(request)
    if name:
        raise Forbidden(
            f"This web UI does not know itself as {name[:100]}.",
            "Open it by its number (http://127.0.0.1:7860), over https, or start it with --server-name or a login "
            "(--gradio-auth).",
        )
    reason = guard.check(request)
    if reason:
        raise Unauthorized(reason, "Log in to the web UI first, or send the same credentials as to its API.")


def foreign(request: Request) -> bool:
    """True when a browser says that another site's page asks.

    Browsers send Sec-Fetch-Site on https and localhost, where it is right also behind proxies that rewrite Host;
    elsewhere Origin is compared with Host. Programs send neither and are no cross-site danger.
    """
    site = request.headers.get("sec-fetch-site", "")
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False
    asked = urlsplit(origin).netloc.lower()
    ours = {request.headers.get(name, "").split(",")[0].strip().lower() for name in ("host", "x-forwarded-host")}
    return not asked or asked not in ours


def typed_folder(text: str) -> Path:
    """The folder that `data.layout.existing` makes of what a user typed, without asking whether it is there."""
    return Path(os.path.abspath(os.path.expanduser(text.strip().strip("\"'").strip())))


def weights_file(text: str, host: Host) -> Path:
    """The LoRA file to continue from; a relative name, such as cards give, lies in the LoRA folder."""
    return host.lora_dir() / Path(text.strip()).expanduser()


def check_folders(settings: Settings, host: Host) -> None:
    """Pictures and weights only from where the host's exposure allows. Raises SettingsError or Forbidden by field."""
    named = {
        "train_data_dir": settings.data.train_data_dir,
        "reg_data_dir": settings.data.reg_data_dir,
        "conditioning_data_dir": settings.data.conditioning_data_dir,
        "network_weights": settings.network.network_weights,
    }
    for field, text in named.items():
        if "\0" in text:
            raise SettingsError(f"`{field}` holds a character no path can have.", "Type the path again.", field)
        if text.strip():
            _check_path(field, text, host)


def _check_path(field: str, text: str, host: Host) -> None:
    """Read in the same way as by those who open it; anything else would let spellings through."""
    is_weights = field == "network_weights"
    path = weights_file(text, host) if is_weights else typed_folder(text)
    if is_weights and within(path, host.lora_dir()):
        return
    if not host.allowed_folder(path):
        raise Forbidden(
            f"{text} may not be read: this web UI is open to others.",
            "Upload the pictures, put them below the web UI's data folder, or start it with "
            "--enable-insecure-extension-access.",
            field,
        )
