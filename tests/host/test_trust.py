"""Who may ask our routes what, over HTTP in the real web UI: strangers, other sites, other names, hostile files."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import pytest
from harness import WebUI
from PIL import Image

from lib_lora_train.app.routes import GET, POST

pytestmark = [pytest.mark.host, pytest.mark.slow]
V1 = "/train-lora/v1"
ROUTES = [("GET", path.replace("{id}", "some")) for path in GET] + [("POST", path) for path in (*POST, "upload")]
REFUSED = {401, 403}
ELSEWHERE = {  # requests as a browser sends them for pages of other sites
    "another site's script": {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    "another program's page on this machine": {"Origin": "http://127.0.0.1:8000"},
    "a sandboxed page": {"Origin": "null"},
    "another site's link": {"Sec-Fetch-Site": "cross-site"},
    "a name made to point here": {"Host": "evil.example:7860", "Origin": "http://evil.example:7860"},
    "a name made to point here, read": {"Host": "evil.example:7860"},
}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def answers(ui: WebUI, **headers: str) -> dict[str, int]:
    """The status of every route. Bodies are empty, so that nothing is started."""
    return {
        f"{m} {path}": ui.request(m, f"{V1}/{path}", {} if m == "POST" else None, **headers)[0] for m, path in ROUTES
    }


def send(ui: WebUI, name: str, content: bytes, kind: str = "application/octet-stream", to: str = "") -> tuple:
    return ui.request("POST", f"{V1}/upload?set={to}&path={name}", content, Content_Type=kind)


def packed(members: dict[str, bytes], links: dict[str, str] | None = None, **how) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o120777 << 16  # a symbolic link
            archive.writestr(entry, target)
    return out.getvalue()


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return out.getvalue()


def files_around(ui: WebUI) -> set[Path]:
    """Everything in and beside the data folder that an escape could write; the web UI's own logs and caches apart."""
    root = ui.data_dir.parent
    mine = ("train-lora", "cache", "cache.json", "server.log", "outputs", "output", "tmp", "config_states")
    return {p for p in root.rglob("*") if not set(p.relative_to(root).parts) & set(mine) and not p.is_dir()}


@pytest.mark.parametrize("headers", ELSEWHERE.values(), ids=ELSEWHERE)
def test_other_sites_and_other_names_get_nothing_from_any_route(webui: WebUI, headers: dict[str, str]):
    assert set(answers(webui, **headers).values()) == {403}


def test_at_home_every_route_answers(webui: WebUI, tmp_path: Path):
    at_home = {"refusal": "", "page_token": "", "open": False, "insecure": False}
    assert webui.request("GET", "/probe/guarded")[1] == at_home
    assert webui.post("/probe/allowed", {"path": str(tmp_path)})["allowed"]
    for headers in ({}, {"Host": "localhost:7860"}, {"Origin": webui.base_url, "Sec-Fetch-Site": "same-origin"}):
        found = answers(webui, **headers)
        assert not REFUSED & {code for route, code in found.items() if route != "POST upload"}, found
        assert found["POST upload"] == 403  # its body is a file, never JSON
        assert found["GET status"] == found["GET schema"] == 200


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_what_a_form_of_another_site_could_send_is_refused(webui: WebUI, kind: str):
    """Old browsers send no origin with forms; these kinds are all that a form can send."""
    body = json.dumps({"settings": {}}).encode()
    for path in (*POST, "upload"):
        status, answer = webui.request("POST", f"{V1}/{path}", body, Content_Type=kind)
        assert status == 403 and "application/" in answer["error"], (path, answer)


def test_the_web_uis_own_pages_may_not_be_framed_into_a_start(webui: WebUI, tmp_path: Path):
    """GET changes nothing: every route that acts takes POST alone."""
    for path in ("start", "stop", "continue", "upload", "check"):
        assert webui.request("GET", f"{V1}/{path}")[0] in (404, 405)


def test_with_a_login_and_a_password(new_webui):
    with new_webui(args=["--gradio-auth", "me:secret", "--api-auth", "api:word"]) as ui:
        nobody = {"a stranger": {}, "a guess": {"Authorization": basic("api", "wrong")}}
        nobody["a made-up session"] = {"Cookie": "access-token=made-up; access-token-unsecure=made-up"}
        nobody["the page's token"] = {"train-lora-page": ui.request("GET", "/probe/guarded")[1]["page_token"]}
        for who, headers in nobody.items():
            assert set(answers(ui, **headers).values()) == {401}, who
        program = {"Authorization": basic("api", "word")}
        assert ui.request("GET", f"{V1}/status", **program)[0] == 200
        assert ui.request("GET", f"{V1}/status", Host="ui.example", **program)[0] == 200  # behind a proxy
        ui.login("me", "secret")
        found = answers(ui)
        assert not REFUSED & {code for route, code in found.items() if route != "POST upload"}, found
        for headers in (h for h in ELSEWHERE.values() if "Host" not in h):
            assert set(answers(ui, **headers).values()) == {403}


def test_open_to_the_network_with_a_password_for_the_api_only(new_webui, tmp_path: Path):
    with new_webui(args=["--listen", "--api-auth", "api:word"]) as ui:
        token = ui.request("GET", "/probe/guarded")[1]["page_token"]
        assert set(answers(ui).values()) == {401}
        assert set(answers(ui, **{"train-lora-page": "guessed"}).values()) == {401}
        ui.headers["Cookie"] = f"train-lora-page={token}"
        assert ui.request("GET", f"{V1}/status", Host="192.168.1.20:7860")[0] == 200
        assert set(answers(ui, Host="evil.example").values()) == {403}  # that page could read the token
        reads_only_its_own_folders(ui, tmp_path)


def test_shared_without_any_password(new_webui, tmp_path: Path):
    """Without a network the tunnel fails and the web UI starts all the same; its rules are those of an open one."""
    with new_webui(args=["--share"]) as ui:
        guard = ui.request("GET", "/probe/guarded")[1]
        assert guard["open"] and not guard["insecure"] and guard["refusal"] == ""
        assert ui.request("GET", f"{V1}/status", Host="0c1f.gradio.live")[0] == 200
        assert set(answers(ui, Host="evil.example").values()) == {403}
        reads_only_its_own_folders(ui, tmp_path)


def reads_only_its_own_folders(ui: WebUI, elsewhere: Path) -> None:
    """Refused for folders anywhere on the disk, whatever the spelling; not for uploads."""
    (elsewhere / "a.png").write_bytes(png())
    inside = ui.data_dir / "train-lora" / "uploads"
    for text in (elsewhere, f'"{elsewhere}"', inside / ".." / ".." / ".." / elsewhere.name, "~", "/"):
        for route in ("check", "start"):
            settings = {"train_data_dir": str(text), "output_name": "x"}
            status, answer = ui.request("POST", f"{V1}/{route}", {"settings": settings})
            assert (status, answer["field"]) == (403, "train_data_dir"), (route, text, answer)
    status, answer = ui.request("POST", f"{V1}/check", {"settings": {"network_weights": "../../../x.safetensors"}})
    assert status == 403 and answer["field"] == "network_weights"
    made = send(ui, "4_red/a.png", png())[1]
    assert ui.post(f"{V1}/check", {"settings": {"train_data_dir": made["folder"]}})["pictures"]["count"] == 1


@pytest.mark.parametrize(
    "name",
    ["../a.png", "/etc/a.png", "C:\\a.png", "\\\\server\\share\\a.png", "a%00.png", "a.html", "a.svg", "nul.png"],
)
def test_a_hostile_name_is_no_place_for_a_file(webui: WebUI, name: str):
    before = files_around(webui)
    assert send(webui, name, png())[0] == 400
    assert files_around(webui) == before


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(packed({"good.png": png(), "../../evil.png": png()}), id="path traversal"),
        pytest.param(packed({"..\\..\\evil.png": png()}), id="path traversal of Windows"),
        pytest.param(packed({"/tmp/evil.png": png()}), id="absolute"),
        pytest.param(packed({"C:/evil.png": png()}), id="a drive"),
        pytest.param(packed({"a.png": bytes(300 << 20)}, compression=zipfile.ZIP_DEFLATED), id="bomb"),
        pytest.param(packed({f"{n}.png": b"" for n in range(20_001)}), id="too many"),
        pytest.param(b"PK\3\4 and nothing", id="damaged"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(webui: WebUI, archive: bytes):
    before = files_around(webui)
    status, answer = send(webui, "set.zip", archive)
    assert status == 400 and answer["error"], answer
    assert files_around(webui) == before
    assert not list(webui.data_dir.parent.rglob("*evil*")) and not Path("/tmp/evil.png").exists()
    assert not list((webui.data_dir / "train-lora").glob("upload-*"))  # the body is gone too


def test_a_link_in_an_archive_becomes_no_link(webui: WebUI, tmp_path: Path):
    (tmp_path / "secret.png").write_bytes(png())
    archive = packed({"4_red/a.png": png()}, {"4_red/b.png": str(tmp_path / "secret.png"), "4_red/out": str(tmp_path)})
    status, answer = send(webui, "set.zip", archive)
    assert status in (200, 400)
    assert not [p for p in (webui.data_dir / "train-lora" / "uploads").rglob("*") if p.is_symlink()]
    if status == 200:
        check = webui.post(f"{V1}/check", {"settings": {"train_data_dir": answer["folder"]}})
        assert [item["name"] for item in check["pictures"]["items"]] == ["a.png"]  # the link's text is no picture


HOSTILE = [
    {"optimizer_type": "os.system"},
    {"output_name": "../../evil"},
    {"output_name": "a", "output_folder": "../.."},
    {"output_folder": "/tmp"},
    {"recipe_version": 999},
    {"unknown_option": 1},
    {"network_dim": "1; import os"},
    {"resolution": "9" * 5000},
    {"sample_every_n_steps": -1},
]


@pytest.mark.parametrize("settings", HOSTILE, ids=lambda settings: str(settings)[:50])
def test_a_hostile_recipe_is_refused(webui: WebUI, tmp_path: Path, settings: dict):
    (tmp_path / "a.png").write_bytes(png())
    before = files_around(webui)
    settings = {"train_data_dir": str(tmp_path), "output_name": "fine", **settings}
    status, answer = webui.request("POST", f"{V1}/start", {"settings": settings})
    assert status == 400 and answer["error"] and answer["remedy"], answer
    assert webui.get(f"{V1}/status")["job"] is None
    assert files_around(webui) == before


def test_arguments_are_never_evaluated(webui: WebUI, tmp_path: Path):
    """They are literals or nothing: refused at the click."""
    (tmp_path / "a.png").write_bytes(png())
    evil = tmp_path / "evil"
    small = {"resolution": "64", "min_bucket_reso": 64, "optimizer_type": "AdamW", "make_thumbnail": False}
    for text in (f"__import__('os').system('touch {evil}')", f"eps=open('{evil}','w')"):
        settings = {**small, "train_data_dir": str(tmp_path), "output_name": "fine", "optimizer_args": text}
        status, answer = webui.request("POST", f"{V1}/start", {"settings": settings})
        assert (status, answer["field"]) == (400, "optimizer_args") and evil.name in answer["error"], answer
        assert not evil.exists() and not webui.get(f"{V1}/status")["job"]


def test_runs_and_pictures_are_asked_for_by_number_never_by_path(webui: WebUI):
    for path in ("runs/..%2F..%2Fetc/file?path=passwd", "runs/some/file?path=../../config.json"):
        assert webui.request("GET", f"{V1}/{path}")[0] == 404
    assert webui.request("GET", f"{V1}/pictures?set=/etc&index=0")[0] == 404
    assert webui.request("GET", f"{V1}/lora?name=../../config")[0] == 404
    assert webui.request("POST", f"{V1}/continue", {"run": "../../etc"})[0] == 404
