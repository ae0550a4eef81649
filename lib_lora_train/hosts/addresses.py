"""By which addresses a web UI may be asked, so that another site's name that is made to point here is of no use.

A page of `evil.example` whose name suddenly resolves to 127.0.0.1 (DNS rebinding) is same-origin to a browser; only the
`Host` it sends tells. Numbers cannot be made to point elsewhere, nor can names that no public registry gives out; and
over https the other site would need a certificate that this machine does not show.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

_PRIVATE = (".localhost", ".local", ".lan", ".home", ".internal", ".localdomain", ".home.arpa")  # never public
_TUNNELS = {  # by flag: names that its owner alone gives out
    "share": (".gradio.live", ".gradio.app"),
    "ngrok": (".ngrok.io", ".ngrok.app", ".ngrok.dev", ".ngrok-free.app", ".ngrok-free.dev"),
}


def misnamed(request: Any, flags: Any) -> str:
    """The public name by which a browser may have been led here; "" when there is no such danger.

    `flags`: the web UI's `cmd_opts`; what --server-name and --cors-allow-origins name is its own.
    """
    host = request.headers.get("host", "")
    name = _name(f"//{host}")
    if not host or _is_number(name) or _is_private(name) or name in _own(flags):
        return ""
    if any(getattr(flags, flag, None) and name.endswith(endings) for flag, endings in _TUNNELS.items()):
        return ""
    return "" if _secure(request, name) else host


def _secure(request: Any, name: str) -> bool:
    """The browser says that its page came over https: scripts can set none of these headers.

    (It sends Sec-Fetch-Site to https and to this machine's own names only.)
    """
    if request.headers.get("sec-fetch-site"):
        return True
    pages = (request.headers.get("origin", ""), request.headers.get("referer", ""))
    return any(page.startswith("https://") and _name(page) == name for page in pages)


def _own(flags: Any) -> set[str]:
    here = socket.gethostname().lower()
    origins = (getattr(flags, "cors_allow_origins", None) or "").split(",")
    return {here, str(getattr(flags, "server_name", None) or here).lower(), *(_name(each) for each in origins)} - {""}


def _name(address: str) -> str:
    """Of the machine in an address, in lower case; "" when there is none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:  # brackets without a number in them
        return ""


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_private(name: str) -> bool:
    """One word, as `localhost` or `my-pc`, or a name of the local network."""
    return bool(name) and ("." not in name or name.endswith(_PRIVATE))
