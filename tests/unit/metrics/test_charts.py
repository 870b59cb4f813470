"""A sample each second, pushed once for all who look, and nothing for nobody."""

from collections.abc import Callable
from typing import Any

import pytest

from clients import Client, MakeApp
from hazoom_ws.events.stats import StatsSample, StatsSeries
from hazoom_ws.metrics.charts import SAMPLES_LIMIT_COUNT, Charts


class Clock:
    """Monotonic, and the wall's: a thousand seconds ahead."""

    now_s = 5000.0

    def __call__(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s + 1000


class Setting:
    """The charts of an application, whose clock stands still and which nothing runs by itself."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.parts = app.extensions["hazoom_ws"]
        self.clock = Clock()
        charts = self.charts = self.parts.charts
        charts._clock, charts._wall_clock, charts._wake = self.clock, self.clock.wall, lambda: None
        charts._due_s, charts._taken_s = self.clock.now_s + 1, self.clock.now_s
        socketio = app.extensions["socketio"]
        socketio.server.eio.sweeps.remove(charts.sweep)
        self.sent: list[bytes] = []

    def pass_time(self, seconds: float) -> float | None:
        self.clock.now_s += seconds
        with self.parts.delivery.turn():
            return self.charts.run_due()


@pytest.fixture
def setting(app: Any) -> Setting:
    return Setting(app)


def ticks(client: Client, namespace: str = "/") -> list[float]:
    return [tick["sample"]["at"] for tick in client.received("stats_tick", namespace=namespace)]


def test_who_subscribes_gets_a_sample_each_second(setting: Setting, ann: Client, bob: Client) -> None:
    assert ann.call("stats_subscribe")["ok"]
    assert setting.pass_time(0.4) == pytest.approx(0.6)
    assert ticks(ann) == []
    assert setting.pass_time(0.7) == pytest.approx(0.9)
    assert setting.pass_time(0.95) == pytest.approx(0.95)
    assert ticks(ann) == pytest.approx([6001.1, 6002.05])
    assert ticks(bob) == []


def test_a_sample_is_framed_once_however_many_look(
    setting: Setting, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    fan_out = setting.app.extensions["socketio"].server.manager
    framed: list[Any] = []
    frame_of = fan_out.frame_of
    monkeypatch.setattr(fan_out, "frame_of", lambda *arguments: framed.append(arguments[1][0]) or frame_of(*arguments))
    lookers = [connect(user_name=f"L{number}") for number in range(20)]
    for looker in lookers:
        looker.call("stats_subscribe")
    setting.pass_time(1)
    assert [ticks(looker) for looker in lookers] == [[6001.0]] * 20
    assert framed.count("stats_tick") == 1


def test_nothing_is_sent_and_no_timer_runs_when_nobody_looks(setting: Setting, ann: Client) -> None:
    assert setting.pass_time(1) is None
    ann.call("stats_subscribe")
    ann.call("stats_unsubscribe")
    assert setting.pass_time(1) is None
    assert ticks(ann) == []
    assert ann.call("stats_unsubscribe")["ok"]


def test_who_disconnects_is_forgotten(setting: Setting, ann: Client) -> None:
    ann.call("stats_subscribe")
    setting.pass_time(1)
    assert setting.charts.looker_count == 1
    ann.socket.disconnect()
    assert setting.pass_time(1) is None
    assert setting.charts.looker_count == 0


def test_samples_are_taken_when_nobody_looks_too(setting: Setting, ann: Client) -> None:
    for _ in range(4):
        setting.clock.now_s += 0.5
        setting.charts.sweep(setting.clock.now_s)
    assert ann.call("stats_subscribe")["samples"]["at"] == [6001.0, 6002.0]
    setting.clock.now_s += 1
    setting.charts.sweep(setting.clock.now_s)  # which is `run_due`'s now
    assert setting.pass_time(0) == 1
    assert ticks(ann) == [6003.0]
    assert ann.call("stats_subscribe", {"since": 6001.0})["samples"]["at"] == [6002.0, 6003.0]


def test_a_quarter_of_an_hour_is_kept(setting: Setting, ann: Client) -> None:
    for _ in range(SAMPLES_LIMIT_COUNT + 100):
        setting.clock.now_s += 1
        setting.charts.sweep(setting.clock.now_s)
    samples = ann.call("stats_subscribe")["samples"]
    assert {name: len(values) for name, values in samples.items()} == dict.fromkeys(
        StatsSample.__struct_fields__, SAMPLES_LIMIT_COUNT
    )
    assert samples["at"][-1] == setting.clock.wall()


def test_a_process_that_was_held_up_takes_one_sample_for_all_of_it(setting: Setting, ann: Client, bob: Client) -> None:
    ann.call("stats_subscribe")
    setting.pass_time(1)
    for _ in range(10):
        bob.call("message", {"message": "hello"})
    assert setting.pass_time(5) == 1
    assert [tick["sample"]["messages_per_s"] for tick in ann.received("stats_tick")] == [0, 2]


def test_rates_are_of_the_time_since_the_sample_before(setting: Setting, ann: Client, bob: Client) -> None:
    setting.pass_time(0)
    ann.call("stats_subscribe")
    setting.pass_time(1)
    ann.received()
    for _ in range(4):
        bob.call("message", {"message": "hello"})
    bob.call("nonsense")
    setting.pass_time(1)
    [tick] = ann.received("stats_tick")
    sample = tick["sample"]
    assert (sample["messages_per_s"], sample["refusals"]) == (4, {"unknown_event": 1})
    assert sample["deliveries_per_s"] == 9  # to two each, and the sample before
    assert (sample["connections"], sample["users"], sample["rooms"]) == (2, 2, 1)
    assert (sample["ttft_ms_p50"], sample["llm_active"], sample["tokens_per_s"]) == (None, 0, 0)
    assert tick["process"] == setting.charts.process


def test_a_tick_comes_on_each_namespace_of_the_connection_that_has_it(setting: Setting, ann: Client) -> None:
    ann.socket.connect("/stats")
    ann.socket.connect("/rooms")
    assert ann.call("stats_subscribe", namespace="/stats")["ok"]
    setting.pass_time(1)
    assert ticks(ann) == ticks(ann, "/stats") == [6001.0]
    assert ticks(ann, "/rooms") == []


def test_a_sample_and_a_series_have_the_same_fields() -> None:
    assert StatsSample.__struct_fields__ == StatsSeries.__struct_fields__


def test_who_reads_slowly_gets_one_history_at_a_time(make_app: MakeApp) -> None:
    app = make_app(rate_limit_per_s=0, outbox_limit_bytes=131_072)
    ann = Client(app)
    setting = Setting(app)
    for _ in range(SAMPLES_LIMIT_COUNT):
        setting.clock.now_s += 1
        setting.charts.sweep(setting.clock.now_s)
    manager = app.extensions["socketio"].server.manager
    manager.has_taken_all = lambda _: False
    codes = [ann.call("stats_subscribe").get("error", {}).get("code") for _ in range(3)]
    assert codes == [None, "rate_limited", "rate_limited"]
    manager.has_taken_all = lambda _: True
    assert ann.call("stats_subscribe")["ok"]


def test_each_application_is_a_process_of_its_own(make_app: MakeApp) -> None:
    charts: list[Charts] = [make_app().extensions["hazoom_ws"].charts for _ in range(2)]
    assert charts[0].process != charts[1].process
