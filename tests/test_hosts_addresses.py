"""A name of somebody else's that points to this machine is refused; everything people really use is not."""

from __future__ import annotations

import base64
import socket
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from lib_lora_train.hosts.addresses import misnamed
from lib_lora_train.hosts.guard import guard_of


def flags(**given) -> SimpleNamespace:
    return SimpleNamespace(**{"api_auth": None, **given})


def request(app: object = None, **headers: str) -> Request:
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "app": app})


@pytest.mark.parametrize(
    "host",
    [
        "",  # HTTP/1.0 programs
        "127.0.0.1:7860",
        "localhost",
        "LOCALHOST:7860",
        "localhost.:7860",
        "[::1]:7860",
        "192.168.1.20:7860",
        "[fe80::1]",
        "my-pc:7860",
        "my-pc.local:7860",
        "webui.fritz.lan",
        "webui.home.arpa:7860",
        "a.localhost:7860",
        socket.gethostname(),
    ],
)
def test_numbers_and_local_names_are_its_own(host: str):
    assert misnamed(request(host=host) if host else request(), flags()) == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "localhost.evil.example:7860",
        "evil.example.",
        "192.168.1.20.nip.io",
        "x.gradio.live",  # without --share
        "[evil.example]",
        "evil.example:port",
        "@evil.example",
    ],
)
def test_a_public_name_may_be_anybodys(host: str):
    assert misnamed(request(host=host), flags()) == host
    assert misnamed(request(host=host, origin=f"http://{host}", x_forwarded_host="localhost"), flags()) == host


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin"},  # which browsers send over https and to localhost only
        {"origin": "https://ui.example"},
        {"referer": "https://ui.example/?__theme=dark"},
    ],
)
def test_over_https_the_name_is_proved_by_its_certificate(headers):
    assert misnamed(request(host="ui.example", **headers), flags()) == ""
    assert headers.get("sec_fetch_site") or misnamed(request(host="evil.example", **headers), flags())


def test_what_the_flags_name_is_its_own():
    assert misnamed(request(host="ui.example:7860"), flags(server_name="UI.example")) == ""
    assert misnamed(request(host="ui.example"), flags(cors_allow_origins="http://a.example,http://ui.example:80")) == ""
    assert misnamed(request(host="0c1f.gradio.live"), flags(share=True)) == ""
    assert misnamed(request(host="0c1f.ngrok-free.app"), flags(ngrok="token")) == ""
    assert misnamed(request(host="evil.example"), flags(share=True, ngrok="token", server_name="ui.example"))


def test_who_shows_a_password_may_use_any_name():
    """A login belongs to the name it was given to, so another name's page has none; the page's token it could read."""
    logged_in = SimpleNamespace(auth={"me": "secret"}, tokens={"t0ken": "me"})
    guard = guard_of(flags(api_auth="api:word"))
    basic = "Basic " + base64.b64encode(b"api:word").decode()
    assert guard.misnamed(request(host="ui.example", authorization=basic)) == ""
    assert guard.misnamed(request(logged_in, host="ui.example", cookie="access-token=t0ken")) == ""
    assert guard.misnamed(request(logged_in, host="ui.example", cookie="access-token=other"))
    assert guard.misnamed(request(host="ui.example", cookie=f"train-lora-page={guard.page_token}"))
