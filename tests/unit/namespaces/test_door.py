"""What every event passes: each refusal has its code, and changes nothing."""

import logging
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio import packet

from clients import Client, Connect, MakeApp
from hazoom_ws import create_app, errors
from hazoom_ws.settings import Settings
from hazoom_ws.transport.engineio.session import MalformedPacket


def refused(client: Client, event, *payload, code: str, namespace: str = "/"):
    """Assert that the call is refused, with and without acknowledgement, and changes nothing; return the text."""
    before = client.call("get_stats")
    client.received()
    reply = client.call(event, *payload)
    assert reply["ok"] is False
    error = reply["error"]
    assert error["code"] == code
    assert error.keys() == {"code", "message", "event", "retry"}
    client.emit(event, *payload)
    assert client.received() == [("error", error)]
    after = client.call("get_stats")
    assert {**before, "uptime_s": 0, "rss_mb": 0} == {**after, "uptime_s": 0, "rss_mb": 0}
    client.received()
    return error["message"]


@pytest.mark.parametrize("event", ["connect", "disconnect", "nope", "on_message", "trigger_event", "error", ""])
def test_a_name_that_is_not_ours_is_an_unknown_event(ann: Client, event):
    refused(ann, event, {"user_name": "Mallory"}, code="unknown_event")


@pytest.mark.parametrize("event", [5, None, ["message"], {"message": 1}, True])
def test_a_name_that_is_not_a_string_is_an_unknown_event(ann: Client, event):
    refused(ann, event, {"message": "x"}, code="unknown_event")


def test_a_forged_disconnect_leaves_the_client_connected(ann: Client, bob: Client):
    bob.emit("disconnect", "transport close")
    bob.emit("connect", {}, {"user_name": "Mallory"})
    bob.received()
    ann.emit("message", {"message": "hi"})
    assert [payload["message"] for payload in bob.received("new_message")] == ["hi"]


@pytest.mark.parametrize(
    ("event", "payload", "words"),
    [
        ("join_room", {"room": 5}, ["room", "str", "int"]),
        ("message", {"message": None}, ["message", "required"]),
        ("join_room", {"room": "\u200b\u3164"}, ["room", "blank"]),
        ("join_room", {"room": "a\u202eb"}, ["room", "direction"]),
        ("join_room", {"room": "a\nb"}, ["room", "control"]),
        ("join_room", {"room": "e\u0301" * 129}, ["room", "129", "128"]),
        ("message", {"message": "\u2800\u200d\ufe0f\x00"}, ["message", "blank"]),
        ("message", {"message": "x", "user_name": "a\u2066b"}, ["user_name", "direction"]),
        ("message", {"message": "x", "user_name": " assistant "}, ["user_name", "assistant"]),
        ("join_room", {"room": "  "}, ["room", "blank"]),
        ("join_room", {"room": ""}, ["room", "empty"]),
        ("join_room", {"room": "r" * 129}, ["room", "129", "128"]),
        ("join_room", {"room": "b", "since": "1"}, ["since"]),
        ("join_room", {"room": "b", "since": -1}, ["since", "0"]),
        ("join_room", {"room": "b", "since": 10**30}, ["since"]),
        ("join_room", {"room": "b", "history": 501}, ["history", "500"]),
        ("message", {}, ["message", "required"]),
        ("message", {"message": 5}, ["message", "str"]),
        ("message", {"message": ""}, ["message", "empty"]),
        ("message", {"message": " \n\t "}, ["message", "blank"]),
        ("message", {"message": "x", "user_name": "u" * 65}, ["user_name", "65", "64"]),
        ("message", {"message": "x", "client_id": "c" * 129}, ["client_id", "128"]),
        ("message", {"message": "x", "client_id": ""}, ["client_id", "1"]),
        ("message", {"message": "x", "room": ["general"]}, ["room"]),
        ("typing", {"is_typing": "yes"}, ["is_typing", "bool"]),
        ("typing", {"is_typing": 1}, ["is_typing", "bool"]),
        ("get_history", {"limit": 501}, ["limit", "500"]),
        ("get_history", {"before": 1.5}, ["before", "int"]),
        ("llm_request", {}, ["message", "required"]),
        ("llm_request", {"message": " "}, ["message", "blank"]),
        ("llm_request", {"message": "x", "intelligence_level": "mega"}, ["intelligence_level", "mega"]),
        ("llm_request", {"message": "x", "stream": "no"}, ["stream", "bool"]),
        ("llm_request", {"message": "x", "session_id": 7}, ["session_id", "str"]),
        ("llm_request", {"message": "x", "request_id": "r" * 129}, ["request_id", "128"]),
        ("get_stats", 5, ["payload", "object"]),
        ("message", "hi", ["payload", "object"]),
        ("message", ["hi"], ["payload", "object"]),
        ("message", None, ["payload", "object"]),
    ],
)
def test_a_bad_payload_is_refused_with_the_field_and_the_limit(ann: Client, event, payload, words):
    message = refused(ann, event, payload, code="bad_payload")
    assert all(word in message for word in words), message


def test_an_event_carries_exactly_one_object(ann: Client):
    refused(ann, "message", code="bad_payload")
    refused(ann, "message", {"message": "a"}, {"message": "b"}, code="bad_payload")


def test_null_is_left_out(ann: Client):
    assert ann.call("get_stats", None)["ok"] is True
    assert ann.call("join_room", {"room": None, "since": None, "history": None})["room"] == "general"
    fields = dict.fromkeys(("room", "user_name", "client_id", "nothing"))
    assert ann.call("message", {"message": "x", **fields})["ok"] is True


def test_names_are_compared_in_their_composed_form(ann: Client, bob: Client):
    assert ann.call("join_room", {"room": "cafe\u0301"})["room"] == "caf\u00e9"
    assert bob.call("join_room", {"room": "caf\u00e9"})["user_count"] == 2


def test_half_a_character_becomes_the_one_that_says_so(ann: Client, bob: Client):
    # JSON.stringify writes it for a text that was cut in the middle of an emoji.
    for sent, shown in (("\ud83d", "\ufffd"), ("a\ude00b", "a\ufffdb"), ("\ud83d\ude00\ud83d", "\U0001f600\ufffd")):
        # What follows the text makes the decoder say something else: such an event closed the session.
        assert ann.call("message", {"message": sent, "client_id": f"after {shown}"})["ok"] is True
        assert bob.received("new_message")[0]["message"] == shown


def test_unknown_fields_are_ignored(ann: Client):
    assert ann.call("message", {"message": "x", "colour": {"of": ["the", "sea"]}})["ok"] is True


def test_text_at_its_limit_is_accepted(ann: Client):
    assert ann.call("join_room", {"room": "r" * 128})["ok"] is True
    assert ann.call("message", {"message": "x", "user_name": "u" * 64, "client_id": "c" * 128})["ok"] is True
    assert ann.call("message", {"message": "ü" * 32768})["ok"] is True


@pytest.mark.parametrize("text", ["x" * 65537, "ü" * 32769, "😀" * 16385])
def test_a_message_over_its_bytes_is_too_large(ann: Client, text):
    for event in ("message", "llm_request"):
        assert "65536" in refused(ann, event, {"message": text}, code="too_large")


def test_binary_is_refused(ann: Client):
    refused(ann, "message", {"message": b"x"}, code="bad_payload")
    refused(ann, "message", b"x", code="bad_payload")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_json_is_refused(ann: Client, number):
    refused(ann, "message", {"message": "x", "number": number}, code="bad_payload")


def nested(depth: int) -> object:
    payload: object = 1
    for level in range(depth):
        payload = {"x": payload} if level % 2 else [payload]
    return payload


def test_json_may_nest_32_deep_and_no_deeper(ann: Client):
    assert ann.call("message", {"message": "x", "deep": nested(31)})["ok"] is True
    assert ann.call("message", {"message": "x", "wide": [[[]]] * 1000, "text": '"[{' * 40})["ok"] is True
    assert "32" in refused(ann, "message", {"message": "x", "deep": nested(32)}, code="bad_payload")
    refused(ann, "message", {"message": "x", "deep": nested(100)}, code="bad_payload")


def test_the_rate_limit_refuses_what_is_over_the_burst(make_app: MakeApp):
    client = Client(make_app(rate_limit_per_s=0.001, rate_limit_burst_count=3))
    client.received()
    replies = [client.call("message", {"message": "x"}) for _ in range(4)]
    assert [reply["ok"] for reply in replies] == [True, True, True, False]
    assert replies[3]["error"]["code"] == "rate_limited"
    assert replies[3]["error"]["retry"] is True
    client.received()
    client.emit("typing", {})
    assert client.received() == [], "typing over the limit is dropped silently"
    assert client.call("typing", {})["error"]["code"] == "rate_limited", "but who asks is answered"
    client.emit("nope")
    assert client.received("error")[0]["code"] == "rate_limited"


def test_the_rate_limit_is_per_connection(make_app: MakeApp):
    app = make_app(rate_limit_per_s=0.001, rate_limit_burst_count=1)
    assert [Client(app).call("get_stats")["ok"] for _ in range(3)] == [True, True, True]


def test_a_crash_in_a_handler_is_logged_once_and_answered_with_its_reference(app, ann: Client, caplog):
    def crash(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError("secret detail")

    app.extensions["hazoom_ws"].hub.history = crash
    with caplog.at_level(logging.ERROR):
        error = ann.call("get_history", {})["error"]
    assert error["code"] == "internal"
    assert "secret" not in error["message"]
    (record,) = caplog.records
    assert record.exc_info
    reference = record.getMessage().rsplit(" ", 1)[1]
    assert error["message"].endswith(reference)
    assert ann.call("message", {"message": "still here"})["ok"] is True


def test_connect_fails_closed_when_it_crashes(app, ann: Client, caplog):
    hub = app.extensions["hazoom_ws"].hub
    original = hub.connect

    def crash(*args: object) -> None:
        original(*args)
        raise TypeError("crash")

    hub.connect = crash
    try:
        late = app.extensions["socketio"].test_client(app)
    finally:
        hub.connect = original
    assert not late.is_connected()
    assert len(caplog.records) == 1
    ann.emit("message", {"message": "hi"})
    assert late.queue == []
    for connection in list(hub._connections.values()):
        hub.disconnect(connection)


@pytest.mark.parametrize(
    "auth",
    [{"user_name": 5}, {"user_name": "u" * 65}, {"recover": "yes"}, ["Ann"], "Ann", {"user_name": {"deep": nested(40)}}],
)
def test_a_bad_auth_is_refused_with_an_object(app, auth):
    answers = []
    client = app.extensions["socketio"].test_client(app, namespace="/stats")
    send = app.extensions["socketio"].server._send_packet
    app.extensions["socketio"].server._send_packet = lambda eio_sid, pkt: (answers.append(pkt), send(eio_sid, pkt))
    client.connect("/", auth=auth)
    assert not client.is_connected("/")
    (answer,) = answers
    assert answer.packet_type == packet.CONNECT_ERROR
    assert answer.data["data"]["code"] == "bad_payload"
    assert answer.data["data"]["event"] == "connect"
    assert answer.data["message"] == answer.data["data"]["message"]


def test_an_unknown_namespace_is_answered_with_an_object(app):
    encoded = app.extensions["socketio"].server.packet_class(packet.CONNECT_ERROR, "Unable to connect", "/x").encode()
    assert encoded == '4/x,{"message":"Invalid namespace"}'


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "9", "2", "2[]", "2{}", '2"message"', "2[", "2[NaN]", '21234567890123456789["message",{}]', "4abc",
        '4{"m":1}',
        '51-["message",{"_placeholder":true,"num":0}]', '50-["message"]', '5999999999-["message"]', '61-1["x"]', "61-[]",
        "3", "31[]", "30[5]", "1", "2" + "[" * 5000, '2["message","\\ud800"]', "2/nowhere,[1]", "0/nowhere,", '2["a"]x',
    ],
)  # fmt: skip
def test_a_packet_is_answered_or_malformed_and_nothing_else(app, connect: Connect, caplog, text):
    ann, victim = connect(user_name="Ann"), connect(user_name="Victim")
    for data in (text, b"\x00binary"):
        with suppress(MalformedPacket):  # which ends a real session
            app.extensions["socketio"].server._handle_eio_message(victim.socket.eio_sid, data)
    assert [record for record in caplog.records if record.exc_info] == []
    assert ann.call("message", {"message": "hi"})["ok"] is True


def test_events_of_one_client_are_handled_in_the_order_sent(ann: Client, bob: Client):
    for number in range(200):
        ann.emit("message", {"message": str(number)})
    assert [payload["message"] for payload in bob.received("new_message")] == [str(number) for number in range(200)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
fields = st.dictionaries(
    st.sampled_from(["room", "message", "user_name", "since", "history", "limit", "is_typing", "client_id", "x"]),
    json_values,
)


class TestAnyPayload:
    """Whatever a client sends is answered, with a documented code if it is refused."""

    client: Client | None = None

    @classmethod
    def setup_class(cls):
        cls.client = Client(
            create_app(
                Settings(log_url="memory://", presence_grace_s=0, rate_limit_per_s=0, rooms_per_connection_limit=10**6)
            )
        )

    @settings(deadline=None)  # how long it takes is up to the machine
    @given(
        event=st.sampled_from(["join_room", "leave_room", "message", "typing", "get_history", "get_stats"]) | st.text(),
        payload=st.lists(fields | json_values, max_size=2),
    )
    def test_is_answered(self, event, payload):
        reply = self.client.call(event, *payload)
        assert reply["ok"] is True or reply["error"]["code"] in errors.CODES - {"internal"}
