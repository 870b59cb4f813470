from pathlib import Path

import hazoom_ws
from clients import Client


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


def test_the_page_says_what_to_run_if_the_client_is_missing(app, tmp_path: Path):
    app.static_folder = str(tmp_path)
    page = app.test_client().get("/").text
    assert "python scripts/run.py" in page
    assert "<script" not in page


def test_the_page_runs_only_its_own_scripts(app, tmp_path: Path):
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "socket.io.min.js").touch()
    app.static_folder = str(tmp_path)
    reply = app.test_client().get("/")
    assert "vendor/socket.io.min.js" in reply.text
    assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_never_makes_markup_of_text():
    script = Path(hazoom_ws.__file__).parent.joinpath("web/static/page.js").read_text(encoding="utf-8")
    assert not any(word in script for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("))
