"""Who may use our routes: whoever may use the web UI's own page or API. (Foreign origins: app/trust.py.)"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any

from .addresses import misnamed
from .base import Guard

PAGE_TOKEN = "train-lora-page"  # name of the cookie and header by which our page is known
_COOKIE = "access-token"  # gradio's session cookies begin so
_page_token = secrets.token_urlsafe(32)  # of this process; "Reload UI" keeps it


def guard_of(flags: Any) -> Guard:
    """`flags`: the web UI's `cmd_opts`.

    With `--gradio-auth` a logged-in browser may ask, with `--api-auth` a program with the API's user and password. With
    `--api-auth` alone the page is open to everybody; our tab on it then shows `page_token` (as a cookie or header
    named PAGE_TOKEN), which only those get who can load that page.
    """
    accounts = _accounts(getattr(flags, "api_auth", None))
    return Guard(
        check=lambda request: _check(request, accounts),
        open_to_network=is_open(flags),
        insecure_allowed=bool(getattr(flags, "enable_insecure_extension_access", False)),
        page_token=_page_token if accounts else "",
        misnamed=lambda request: "" if _is_known(request, accounts) else misnamed(request, flags),
    )


def is_open(flags: Any) -> bool:
    """Can others reach this web UI?"""
    names = ("webui_is_non_local", "share", "listen", "ngrok", "server_name")
    return any(getattr(flags, name, None) for name in names)


def within(path: Path, folder: Path) -> bool:
    """Is `path`, with links followed, `folder` or below it?

    A computer of another's choosing is not asked for that: Windows would log in there with the user's name and hash.
    """
    if is_remote(path) and not is_remote(folder):
        return False
    return path.expanduser().resolve().is_relative_to(folder.resolve())


def is_remote(path: PurePath) -> bool:
    r"""Whether Windows would look for it on another computer (`\\server\share`) or device (`\\.\pipe`)."""
    return str(path).replace("/", "\\").startswith("\\\\")


def _check(request: Any, accounts: dict[str, str]) -> str:
    """Why the request is refused, "" when it is not."""
    app = request.scope.get("app")
    ways: list[tuple[Callable[[], bool], str]] = []
    if getattr(app, "auth", None) is not None:
        ways.append((lambda: _logged_in(request, app), "a login on the web UI's page"))
    if accounts:
        ways.append((lambda: _knows_password(request, accounts), "the API's user and password"))
    if accounts and len(ways) == 1:
        ways.append((lambda: _from_page(request), "the Train LoRA tab"))
    if not ways or any(way() for way, _ in ways):
        return ""
    return f"This needs {' or '.join(name for _, name in ways)}."


def _is_known(request: Any, accounts: dict[str, str]) -> bool:
    """By a login or a password, which a browser sends to the name they were given to alone."""
    app = request.scope.get("app")
    return (getattr(app, "auth", None) is not None and _logged_in(request, app)) or _knows_password(request, accounts)


def _logged_in(request: Any, app: Any) -> bool:
    tokens = getattr(app, "tokens", {})
    return any(name.startswith(_COOKIE) and value in tokens for name, value in request.cookies.items())


def _knows_password(request: Any, accounts: dict[str, str]) -> bool:
    """HTTP basic authentication."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return _same(password, [accounts[user]] if user in accounts else [])


def _from_page(request: Any) -> bool:
    given = request.headers.get(PAGE_TOKEN) or request.cookies.get(PAGE_TOKEN) or ""
    return _same(given, [_page_token])


def _same(given: str, wanted: Iterable[str]) -> bool:
    return any(secrets.compare_digest(given.encode(), one.encode()) for one in wanted)


def _accounts(flag: str | None) -> dict[str, str]:
    """`user:password,user:password`, as the web UI reads it."""
    pairs = (pair.split(":", 1) for pair in (flag or "").split(",") if ":" in pair)
    return dict(pairs)
