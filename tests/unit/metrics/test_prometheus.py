"""What a scrape gets is what the parts say at that moment, in either format."""

import math
from contextlib import closing
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from clients import Client
from hazoom_ws import __version__, create_app
from hazoom_ws.features import ClientPayload, Feature, Refused, handles
from hazoom_ws.metrics.table import METRICS
from hazoom_ws.settings import Settings

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4"


def scrape(app: Any, accept: str = "") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples of a scrape by name and labels."""
    reply = app.test_client().get("/metrics", headers={"Accept": accept})
    assert reply.status_code == 200
    parse = parse_openmetrics if reply.content_type.startswith("application/openmetrics-text") else parse_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(reply.text)
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["", TEXT, OPENMETRICS, f"{OPENMETRICS};q=0.5,{TEXT};q=0.4,*/*;q=0.1"])
def test_every_metric_is_there_in_the_format_that_was_asked_for(app: Any, accept: str) -> None:
    reply = app.test_client().get("/metrics", headers={"Accept": accept})
    kind = "application/openmetrics-text" if "openmetrics" in accept else "text/plain"
    assert reply.content_type.startswith(kind)
    assert reply.headers["Cache-Control"] == "no-store"
    parse = parse_openmetrics if "openmetrics" in accept else parse_text
    families = {family.name: family for family in parse(reply.text)}
    for metric in METRICS:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert not families


def test_the_numbers_are_those_of_the_parts(app: Any, ann: Client, bob: Client) -> None:
    before = scrape(app)
    assert before["hazoom_connections", ()] == before["hazoom_users", ()] == 2
    ann.call("message", {"message": "hello"})
    ann.call("nonsense")
    bob.call("message", {"message": ""})
    bob.call("state_set", {"values": {"a": 1}})
    bob.call("state_set", {"values": {"a": 2}, "if_seq": {"a": 0}})
    bob.call("relay", {"channel": "cursors", "key": "bob", "data": [1, 2]})
    bob.received()
    after = scrape(app)
    assert {
        key: after[key] - before[key] for key in before if after[key] != before[key] and key[0].startswith("hazoom")
    } == {
        ("hazoom_messages_total", ()): 1,
        ("hazoom_deliveries_total", ()): 5,  # the message and the change to both, the cursor to Ann
        ("hazoom_refusals_total", (("code", "bad_payload"),)): 1,
        ("hazoom_refusals_total", (("code", "unknown_event"),)): 1,
        ("hazoom_refusals_total", (("code", "conflict"),)): 1,
        ("hazoom_state_changes_total", ()): 1,
        ("hazoom_relay_items_total", ()): 1,
        ("hazoom_relay_frames_total", ()): 1,
    }


def test_it_says_whose_it_is_and_whether_it_takes_traffic(make_app: Any, tmp_path: Any) -> None:
    app = make_app(log_url=f"sqlite:///{tmp_path}/messages.sqlite3", disk_free_limit_bytes=0)
    Client(app).call("message", {"message": "kept"})
    found = scrape(app)
    assert found["hazoom_info", (("version", __version__),)] == 1
    assert found["hazoom_ready", ()] == 1
    assert found["hazoom_log_bytes", ()] >= 4096
    assert found["hazoom_log_disk_free_bytes", ()] > 0
    assert found["hazoom_log_commit_seconds_count", ()] >= 1
    assert found["hazoom_log_commit_seconds_bucket", (("le", "+Inf"),)] == found["hazoom_log_commit_seconds_count", ()]
    assert found["hazoom_llm_circuit", (("state", "closed"),)] == 1
    assert found["process_resident_memory_bytes", ()] > 2**20
    assert 0 < found["process_open_fds", ()] <= found["process_max_fds", ()] <= math.inf
    app.extensions["hazoom_ws"].stop()
    assert scrape(app)["hazoom_ready", ()] == 0


def test_a_refused_connect_is_counted(make_app: Any) -> None:
    app = make_app(auth="api_key", api_keys=("k" * 32,))
    Client(app)
    assert scrape_with_key(app)["hazoom_refusals_total", (("code", "unauthorized"),)] == 1


def scrape_with_key(app: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Scrape as from another machine."""
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    assert app.test_client().get("/metrics", environ_base=elsewhere).status_code == 401
    reply = app.test_client().get("/metrics", environ_base=elsewhere, headers={"X-API-Key": "k" * 32})
    assert reply.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(reply.text)
        for sample in family.samples
    }


def test_backends_that_are_refused_are_counted(make_app: Any) -> None:
    app = make_app(api_keys=("k" * 32,))
    assert app.test_client().get("/api/v1/rooms/a/messages").status_code == 401
    assert scrape(app)["hazoom_refusals_total", (("code", "unauthorized"),)] == 1


class Wait(ClientPayload, frozen=True):
    event = "wait"


class Waits(Feature):
    name = "waits"

    @handles(Wait, waits=True)
    def wait(self, sender: Any, payload: Wait) -> None:
        raise Refused("too_late", "it is over")


def test_what_a_feature_refuses_is_counted_by_its_own_code() -> None:
    app = create_app(Settings(log_url="memory://"), features=[Waits])
    with closing(app.extensions["hazoom_ws"]):
        ann = Client(app)
        ann.emit("wait", {})
        assert ann.wait_for("error")["code"] == "too_late"
        assert scrape(app)["hazoom_refusals_total", (("code", "too_late"),)] == 1


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_of_several_workers_the_one_that_is_asked_answers_for_all(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    monkeypatch.setenv("HAZOOM_WORKER_NUMBER", "10")
    asked, other = make_app(), make_app()
    Client(other).call("message", {"message": "hello"})
    Client(other).call("nonsense")
    told = other.extensions["hazoom_ws"].scrape.tell()
    # The third has died in the middle, the fourth hangs or is not there.
    asked.extensions["hazoom_ws"].scrape.ask_others = lambda: {2: told, 3: told[:-1], 4: None}
    found = scrape(asked, accept)
    workers = {number: (("worker", number),) for number in ("2", "3", "4", "10")}
    assert [found["hazoom_ready", worker] for worker in workers.values()] == [1, 0, 0, 1]
    assert {dict(labels)["worker"] for name, labels in found if name != "hazoom_ready"} == {"2", "10"}
    assert found["hazoom_messages_total", workers["2"]] == 1
    assert found["hazoom_messages_total", workers["10"]] == 0
    assert found["hazoom_refusals_total", (("code", "unknown_event"), *workers["2"])] == 1
    assert found["hazoom_log_commit_seconds_bucket", (("le", "+Inf"), *workers["2"])] == 0
    monkeypatch.delenv("HAZOOM_WORKER_NUMBER")
    of_worker = [(name, labels) for name, labels in found if ("worker", "10") in labels]
    alone = scrape(make_app(), accept)
    assert {(name, tuple(label for label in labels if label[0] != "worker")) for name, labels in of_worker} == set(alone)


def test_two_applications_count_for_themselves(make_app: Any) -> None:
    one, other = make_app(), make_app()
    Client(one).call("message", {"message": "hello"})
    assert scrape(one)["hazoom_messages_total", ()] == 1
    assert scrape(other)["hazoom_messages_total", ()] == 0
