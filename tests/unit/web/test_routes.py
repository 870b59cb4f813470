import re
from pathlib import Path

import pytest

import hazoom_ws
from clients import Client

PAGES = ("/", "/board")
STATIC = Path(hazoom_ws.__file__).parent / "web" / "static"


def test_health_counts_connections_and_rooms(app):
    Client(app).call("join_room", {"room": "team"})
    reply = app.test_client().get("/health")
    assert reply.status_code == 200
    assert reply.json == {
        "status": "healthy",
        "service": "hazoom_ws",
        "version": hazoom_ws.__version__,
        "active_connections": 1,
        "rooms": 2,
    }


def test_ready_is_200(app):
    assert app.test_client().get("/ready").status_code == 200


def test_status_is_the_stats_object_with_the_service(app, ann):
    reply = app.test_client().get("/api/v1/status")
    stats = ann.call("get_stats")
    assert {"ok", *reply.json} == {"service", "version", "status", *stats}
    assert reply.json["active_users"] == 1


def test_an_unknown_path_is_404_without_a_traceback(app):
    assert app.test_client().get("/nothing").status_code == 404


@pytest.mark.parametrize("path", PAGES)
def test_a_page_says_what_to_run_if_the_client_is_missing(app, tmp_path: Path, path: str):
    app.static_folder = str(tmp_path)
    page = app.test_client().get(path).text
    assert "python scripts/run.py" in page
    assert "<script" not in page


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_only_its_own_scripts(app, tmp_path: Path, path: str):
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "socket.io.min.js").touch()
    app.static_folder = str(tmp_path)
    reply = app.test_client().get(path)
    assert "vendor/socket.io.min.js" in reply.text
    assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"style=|<style|<script>| on\w+=", reply.text), "its own policy would stop it"


def test_no_script_makes_markup_or_code_of_text():
    makes = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|eval\(|new Function")
    scripts = [STATIC / "page.js", *(STATIC / "board").glob("*.js")]
    assert [path.name for path in scripts if makes.search(path.read_text("utf-8"))] == []


def test_the_modules_of_the_board_import_what_is_there_and_are_read_in_one_go():
    for path in (STATIC / "board").glob("*.js"):
        script = path.read_text("utf-8")
        assert all((path.parent / name).is_file() for name in re.findall(r'from "\./([^"]+)"', script))
        assert not re.search(r'from "(?!\./)', script), "nothing comes from elsewhere"
        assert len(script.splitlines()) <= 300
