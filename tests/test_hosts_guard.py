"""Who may use the routes of a web UI with passwords: checked on real requests."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from lib_lora_train.hosts.guard import PAGE_TOKEN, guard_of, is_open, within


def flags(**given) -> SimpleNamespace:
    return SimpleNamespace(**{"api_auth": None, "enable_insecure_extension_access": False, **given})


def request(app: object = None, **headers: str) -> Request:
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "app": app})


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


PAGE = SimpleNamespace(auth={"me": "secret"}, tokens={"t0ken": "me"})
OPEN_PAGE = SimpleNamespace(auth=None, tokens={})


def test_without_passwords_everybody_may():
    guard = guard_of(flags())
    assert guard.check(request(OPEN_PAGE)) == guard.check(request()) == "" == guard.page_token


@pytest.mark.parametrize("cookie", ["access-token", "access-token-unsecure", "access-token-a1b2"])
def test_a_login_is_enough(cookie: str):
    guard = guard_of(flags())
    assert guard.check(request(PAGE, cookie=f"{cookie}=t0ken")) == ""
    assert "login" in guard.check(request(PAGE, cookie=f"{cookie}=other"))
    assert "login" in guard.check(request(PAGE, cookie="theme=t0ken"))
    assert "login" in guard.check(request(PAGE))


@pytest.mark.parametrize(
    ("header", "right"),
    [
        (basic("api:word"), True),
        (basic("two:with:colon"), True),
        (basic("api:wrong"), False),
        (basic("nobody:word"), False),
        (basic("api"), False),
        ("Basic %%%", False),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), False),
        ("Bearer word", False),
        ("", False),
    ],
)
def test_the_apis_password(header: str, right: bool):
    guard = guard_of(flags(api_auth="api:word,two:with:colon"))
    for app in (OPEN_PAGE, PAGE):
        assert (guard.check(request(app, authorization=header)) == "") is right


def test_an_open_page_beside_a_closed_api_shows_its_token():
    guard = guard_of(flags(api_auth="api:word"))
    assert len(guard.page_token) > 30
    assert guard_of(flags(api_auth="api:word")).page_token == guard.page_token  # for as long as the process lives
    assert guard.check(request(OPEN_PAGE, **{PAGE_TOKEN: guard.page_token})) == ""
    assert guard.check(request(OPEN_PAGE, cookie=f"a=b; {PAGE_TOKEN}={guard.page_token}")) == ""
    assert guard.check(request(OPEN_PAGE, **{PAGE_TOKEN: guard.page_token[:-1]}))
    assert guard.check(request(OPEN_PAGE, **{PAGE_TOKEN: ""}))
    assert guard.check(request(PAGE, **{PAGE_TOKEN: guard.page_token}))  # a page with a login is not open


def test_how_far_the_web_ui_is_open():
    assert not is_open(flags(listen=False, share=False))
    for flag in ("listen", "share", "ngrok", "server_name", "webui_is_non_local"):
        assert is_open(flags(**{flag: "x"}))
    assert guard_of(flags(listen=True, enable_insecure_extension_access=True)).insecure_allowed


def test_a_folder_counts_by_where_it_really_is(tmp_path: Path):
    inside, outside = tmp_path / "data", tmp_path / "data-too"
    for folder in (inside, outside):
        folder.mkdir()
    (inside / "way-out").symlink_to(outside)
    (outside / "way-in").symlink_to(inside)
    assert within(inside, inside) and within(inside / "not" / "there", inside) and within(outside / "way-in", inside)
    for path in (outside, inside / "way-out" / "pictures", inside / ".." / "data-too", Path("~")):
        assert not within(path, inside)
