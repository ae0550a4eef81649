"""Who may ask, and for which folders."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from app_stage import StageHost, recipe
from starlette.requests import Request

from lib_lora_train.app import trust
from lib_lora_train.app.refusals import Forbidden, Unauthorized
from lib_lora_train.data.layout import existing
from lib_lora_train.errors import SettingsError
from lib_lora_train.hosts.guard import guard_of
from lib_lora_train.settings.found import PATH_FIELDS


def _request(**headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""})


@pytest.mark.parametrize(
    "headers, is_foreign",
    [
        ({}, False),  # a program
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860"}, False),
        ({"host": "pc.lan:7860", "origin": "http://PC.lan:7860"}, False),
        ({"host": "127.0.0.1:7860", "origin": "http://evil.example"}, True),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:8000"}, True),
        ({"host": "127.0.0.1:7860", "origin": "null"}, True),
        ({"host": "127.0.0.1:7860", "origin": ""}, True),
        ({"host": "inner:7860", "x_forwarded_host": "ui.example", "origin": "https://ui.example"}, False),
        ({"host": "inner:7860", "origin": "https://ui.example", "sec_fetch_site": "same-origin"}, False),
        ({"host": "127.0.0.1:7860", "sec_fetch_site": "none"}, False),
        ({"host": "127.0.0.1:7860", "sec_fetch_site": "cross-site"}, True),
        ({"host": "127.0.0.1:7860", "sec_fetch_site": "same-site"}, True),
        ({"host": "evil.example", "origin": "http://evil.example", "sec_fetch_site": "cross-site"}, True),
    ],
)
def test_other_sites_pages_are_recognised(headers, is_foreign):
    assert trust.foreign(_request(**headers)) is is_foreign


def test_the_hosts_login_is_asked_for(tmp_path):
    host = StageHost(tmp_path)
    trust.check_request(_request(), host)
    host.reason = "Log in."
    with pytest.raises(Unauthorized):
        trust.check_request(_request(), host)
    with pytest.raises(Forbidden):  # a foreign page does not even learn that
        trust.check_request(_request(origin="http://evil.example"), host)


def test_a_name_that_was_made_to_point_here_is_refused(tmp_path):
    """The browser calls it same-origin, since the page came by that name too."""
    host = StageHost(tmp_path)
    host.guard = lambda: guard_of(SimpleNamespace(api_auth=None))
    trust.check_request(_request(host="127.0.0.1:7860", origin="http://127.0.0.1:7860"), host)
    with pytest.raises(Forbidden, match="evil.example:7860"):
        trust.check_request(_request(host="evil.example:7860", origin="http://evil.example:7860"), host)


@pytest.mark.parametrize("field", PATH_FIELDS)
def test_folders_outside_are_refused_by_field(tmp_path, field):
    host = StageHost(tmp_path)
    settings = recipe("", **{field: str(tmp_path / "elsewhere")})
    trust.check_folders(settings, host)
    host.allowed = False
    with pytest.raises(Forbidden) as error:
        trust.check_folders(settings, host)
    assert error.value.field == field
    with pytest.raises(SettingsError):
        trust.check_folders(recipe("", **{field: "a\0b"}), host)


def test_weights_to_continue_from_may_lie_in_the_lora_folder_but_not_around_it(tmp_path):
    host = StageHost(tmp_path)
    host.allowed = False
    trust.check_folders(recipe("", network_weights=str(host.lora_dir() / "sub" / "a.safetensors")), host)
    with pytest.raises(Forbidden):
        trust.check_folders(recipe("", network_weights=str(host.lora_dir() / ".." / "a.safetensors")), host)
    trust.check_folders(recipe("", network_weights="sub/a.safetensors"), host)
    with pytest.raises(Forbidden):
        trust.check_folders(recipe("", network_weights="../a.safetensors"), host)
    (host.lora_dir() / "link").symlink_to(tmp_path.parent)
    with pytest.raises(Forbidden):
        trust.check_folders(recipe("", network_weights=str(host.lora_dir() / "link" / "a.safetensors")), host)


@pytest.mark.parametrize("spelling", ["{}", ' "{}" ', "'{}'", "{}/", "{}/../set", "{}/sub/.."])
def test_a_folder_is_judged_as_the_one_that_is_read(tmp_path, spelling):
    """Quotes of "Copy as path", dots and blanks must not lead past the check."""
    (tmp_path / "set" / "sub").mkdir(parents=True)
    text = spelling.format(tmp_path / "set")
    assert trust.typed_folder(text) == existing(text, "folder")
    host, asked = StageHost(tmp_path), []
    host.allowed_folder = lambda path: asked.append(path) or True
    trust.check_folders(recipe(text), host)
    assert asked == [existing(text, "folder")]
