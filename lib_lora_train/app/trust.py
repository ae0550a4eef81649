"""Who may ask what: authentication as the host's, no foreign origins, no folders outside the allowed ones."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request

from ..errors import SettingsError
from ..hosts.base import Host
from ..settings.schema import Settings
from .refusals import Forbidden, Unauthorized


def check_request(request: Request, host: Host) -> None:
    """Before anything else is looked at. Raises Unauthorized or Forbidden."""
    if foreign(request):
        raise Forbidden(
            "This request comes from another web site.",
            "Use the Train LoRA tab of the web UI, or a program of your own.",
        )
    reason = host.guard().check(request)
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


def check_folders(settings: Settings, host: Host) -> None:
    """Pictures and weights only from where the host's exposure allows. Raises SettingsError or Forbidden by field."""
    named = {
        "train_data_dir": settings.data.train_data_dir,
        "reg_data_dir": settings.data.reg_data_dir,
        "network_weights": settings.network.network_weights,
    }
    for field, text in named.items():
        if text:
            _check_folder(field, text, host)


def _check_folder(field: str, text: str, host: Host) -> None:
    if "\0" in text:
        raise SettingsError(f"`{field}` holds a character no path can have.", "Type the path again.", field)
    path = Path(text).expanduser()
    if field == "network_weights" and _inside(path, host.lora_dir()):
        return
    if not host.allowed_folder(path):
        raise Forbidden(
            f"{text} may not be read: this web UI is open to others.",
            "Upload the pictures, put them below the web UI's data folder, or start it with "
            "--enable-insecure-extension-access.",
            field,
        )


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
