"""What no honest client sends: it is refused or cut off, others feel nothing, and no traceback is logged."""

import json
from collections.abc import Iterator

import pytest
from websockets.frames import CloseCode, Opcode

from raw_client import frame, raw_client
from servers import Hazoom, hazoom


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode, env={"HAZOOM_RATE_LIMIT_PER_S": "0"}) as server:
        yield server


def test_a_forged_connect_or_disconnect_is_an_unknown_event(server: Hazoom, neighbour: None) -> None:
    with raw_client(server) as raw:
        for name in ("connect", "disconnect"):
            raw.send(f'42["{name}",{{}},{{"user_name":"Mallory"}}]')
            assert raw.receive_event("error")["code"] == "unknown_event"
        raw.send('421["message",{"message":"mine"}]')
        assert raw.receive_event("new_message")["user"].startswith("Guest-")


@pytest.mark.parametrize(
    "text",
    [
        '42["message",{"message":NaN}]',
        '42["message",' + '{"x":' * 40 + "1" + "}" * 40 + "]",
        '42["message",' + "[" * 3000 + "]" * 3000 + "]",
        '451-["message",{"message":{"_placeholder":true,"num":0}}]',
        '42["message",{"message":"\\ud800"}]',
    ],
)
def test_a_payload_that_may_not_be_is_refused_and_the_next_one_is_served(
    server: Hazoom, neighbour: None, text: str
) -> None:
    with raw_client(server) as raw:
        raw.send(text)
        assert raw.receive_event("error")["code"] == "bad_payload"
        raw.send_bytes(frame(Opcode.BINARY, b"an attachment of the refused event"))
        raw.send('42["message",{"message":"hi"}]')
        assert raw.receive_event("new_message")["message"] == "hi"


@pytest.mark.parametrize(
    "text", ["42[]", "42{}", "42", "44{}", "4", "4x", '42abc["message",{}]', '42["message",', "41{}", "x", ""]
)
def test_a_packet_that_is_none_ends_the_session(server: Hazoom, neighbour: None, text: str) -> None:
    with raw_client(server) as raw:
        raw.send(text)
        assert raw.wait_until_closed() == CloseCode.PROTOCOL_ERROR


def test_a_namespace_that_is_not_there_is_refused_with_an_object(server: Hazoom, neighbour: None) -> None:
    with raw_client(server) as raw:
        raw.send("40/admin,")
        while not (text := raw.receive()).startswith("44/admin,"):
            pass
        assert json.loads(text.removeprefix("44/admin,"))["message"]


def test_a_client_that_never_connects_gets_nothing_and_is_counted_nowhere(server: Hazoom, neighbour: None) -> None:
    with raw_client(server, join=False) as silent, raw_client(server) as raw:
        silent.send('42["message",{"message":"hi"}]')
        raw.send('421["get_stats"]')
        assert raw.receive_event("stats")["total_connections"] == 2
        silent.send("40/nowhere,")
        assert silent.receive().startswith("44/nowhere,")
