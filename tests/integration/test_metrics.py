"""What a real server says of itself, to Prometheus and to who looks: its numbers move as its clients act."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from servers import DEADLINE_S, Hazoom, OfficialClient, gunicorn, hazoom, unique, wait_until
from tcp_proxy import tcp_proxy

KEY = "k" * 40
QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 200}
Found = dict[str, float]


@pytest.fixture(scope="module")
def server(async_mode: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hazoom]:
    path = tmp_path_factory.mktemp("log") / "messages.sqlite3"
    env = {"HAZOOM_API_KEYS": KEY, "HAZOOM_LOG_URL": f"sqlite:///{path}"}
    with hazoom(async_mode=async_mode, demo=True, env=env) as server:
        yield server


def scrape(server: Hazoom, **headers: str) -> Found:
    """Return what is scraped, by name and labels as they are written."""
    reply = requests.get(f"{server.url}/metrics", headers=headers, timeout=DEADLINE_S)
    reply.raise_for_status()
    found: Found = {}
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_counters_move_as_clients_act(server: Hazoom, client: OfficialClient, async_mode: str) -> None:
    before, room = scrape(server), unique("room")
    with tcp_proxy(server.port) as proxy:
        ann = client.connect(proxy.url, transports=["websocket"], auth={"user_name": "Ann"}, **QUICKLY)
        bob = client.connect(server.url, transports=["polling"], auth={"user_name": "Bob"})
        for one in (ann, bob):
            assert one.emit("join_room", {"room": room})["ok"]
        found = scrape(server)
        assert found["hazoom_connections"] == found["hazoom_users"] == 2
        assert found["hazoom_sessions{transport=websocket}"] == found["hazoom_sessions{transport=polling}"] == 1
        assert found["hazoom_rooms"] == 2

        for number in range(5):
            assert ann.emit("message", {"room": room, "message": f"message {number}"})["ok"]
        assert not bob.emit("message", {"room": room})["ok"]
        assert not bob.emit("no_such_event")["ok"]
        assert bob.emit("state_set", {"room": room, "values": {"shape": 1}})["ok"]
        assert bob.emit("llm_request", {"room": room, "message": "hello", "request_id": "one"})["ok"]
        bob.wait_for("llm_complete")
        proxy.cut()
        ann.wait_for("connect", lambda said: said["recovered"])
        client.try_to_connect(f"{server.url}/no-such-namespace").wait_for("connect_error")
        bad = requests.get(f"{server.url}/socket.io/?EIO=3&transport=polling", timeout=DEADLINE_S)
        assert bad.status_code == 400

        found = scrape(server)
        moved = {name: value - before.get(name, 0) for name, value in found.items()}
        assert moved["hazoom_messages_total"] == 7  # the question and its answer too
        assert moved["hazoom_refusals_total{code=bad_payload}"] == 1
        assert moved["hazoom_refusals_total{code=unknown_event}"] == 1
        assert moved["hazoom_state_changes_total"] == 1
        assert moved["hazoom_llm_answers_total{code=,end=finished}"] == 1
        assert moved["hazoom_llm_tokens_total"] > 10
        assert moved["hazoom_llm_first_token_seconds_count"] == 1
        assert 0 < moved["hazoom_llm_first_token_seconds_sum"] < DEADLINE_S
        assert moved["hazoom_deliveries_total"] >= 2 * (6 + moved["hazoom_llm_tokens_total"])
        assert moved["hazoom_log_commit_seconds_count"] >= 6
        assert moved["hazoom_recoveries_total{result=recovered}"] == 1
        assert moved["hazoom_handshakes_refused_total{reason=unsupported_protocol_version}"] == 1
        assert moved["hazoom_sessions_opened_total"] >= 3
        assert sum(value for name, value in moved.items() if name.startswith("hazoom_sessions_closed_total{")) >= 1
        assert found["hazoom_llm_active"] == found["hazoom_llm_queued"] == found["hazoom_outbox_bytes"] == 0
        assert found["hazoom_ready"] == 1
        assert found["process_open_fds"] > 3
        assert found["hazoom_log_bytes"] > 0
        if async_mode == "threading":
            assert found["hazoom_loop_lag_seconds_count"] == 0
        else:
            wait_until(lambda: scrape(server)["hazoom_loop_lag_seconds_count"] > 0, "the loop's lag is measured")
        ann.disconnect()
        bob.disconnect()
    wait_until(lambda: scrape(server)["hazoom_connections"] == 0, "all have gone")


def test_beyond_this_machine_it_is_for_who_has_a_key(server: Hazoom) -> None:
    passed_on = {"X-Forwarded-For": "192.0.2.1"}
    for path in ("/metrics", "/stats"):
        asked = requests.get(f"{server.url}{path}", headers=passed_on, timeout=DEADLINE_S)
        assert (asked.status_code, asked.headers["Cache-Control"]) == (401, "no-store")
        assert "hazoom_" not in asked.text
        with_key = requests.get(f"{server.url}{path}", headers=passed_on, auth=("prometheus", KEY), timeout=DEADLINE_S)
        assert with_key.status_code == 200
    assert scrape(server, **passed_on, **{"X-API-Key": KEY})["hazoom_ready"] == 1


def take_ticks(socket: Any, count: int) -> list[dict[str, Any]]:
    return [socket.wait_for("stats_tick") for _ in range(count)]


def test_who_looks_sees_each_second(server: Hazoom, client: OfficialClient) -> None:
    first = client.connect(server.url, "/stats", transports=["websocket"])
    history = first.emit("stats_subscribe")
    assert history["ok"]
    assert set(map(len, history["samples"].values())) == {len(history["samples"]["at"])}
    second = client.connect(server.url, "/stats", transports=["polling"])
    assert second.emit("stats_subscribe", {"since": 2**40})["samples"]["at"] == []
    seen = take_ticks(second, 3)
    assert all(later["sample"]["at"] - tick["sample"]["at"] > 0.4 for tick, later in pairwise(seen))
    first.wait_for("stats_tick", lambda tick: tick == seen[-1])
    assert [tick for tick in first.received("stats_tick") if tick in seen] == seen, "all who look see the same samples"
    assert {tick["process"] for tick in seen} == {history["process"]}
    assert seen[-1]["sample"]["connections"] == 2
    assert first.emit("stats_unsubscribe")["ok"]
    count = len(first.received("stats_tick"))
    take_ticks(second, 2)
    assert len(first.received("stats_tick")) == count
    for one in (first, second):
        one.disconnect()


def test_gunicorn_serves_the_numbers_too(client: OfficialClient) -> None:
    with gunicorn() as server:
        ann = client.connect(server.url, transports=["websocket"])
        assert ann.emit("message", {"message": "hello"})["ok"]
        assert ann.emit("stats_subscribe")["ok"]
        assert ann.wait_for("stats_tick")["sample"]["connections"] == 1
        found = scrape(server)
        assert (found["hazoom_messages_total"], found["hazoom_connections"]) == (1, 1)
        assert requests.get(f"{server.url}/stats", timeout=DEADLINE_S).ok
        ann.disconnect()
