import pytest
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet as stock

from hazoom_ws.transport.engineio.session import MalformedPacket
from hazoom_ws.transport.socketio.packet import ClientEvent, Packet

header = st.from_regex(r"\A[0-9](\d{1,3}-)?(/[a-z]*,?)?\d{0,20}", fullmatch=True)
bodies = st.sampled_from(
    ['["message",{}]', "[]", "{}", "null", "[NaN]", '["a"', "[[[[", "", '"x"', "[1]", '[{"x":1}]', "0"]
)


@given(text=st.text() | st.builds(str.__add__, header, bodies) | st.binary() | st.dictionaries(st.text(), st.none()))
def test_a_packet_is_malformed_or_its_event_has_a_name(text):
    try:
        packet = Packet(encoded_packet=text)
    except MalformedPacket:
        return
    if packet.part_count:
        return  # it is read when its parts have come
    if packet.packet_type == stock.EVENT and text not in (b"", {}):
        assert isinstance(packet.data[0], ClientEvent)
        assert packet.data[0].wants_acknowledgement == (packet.id is not None)


names = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | names,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(names, children, max_size=3),
    max_leaves=8,
)


@given(
    name=names,
    payload=json_values,
    namespace=st.sampled_from([None, "/", "/rooms"]),
    identifier=st.none() | st.integers(0, 10**15 - 1),
)
def test_the_wire_format_is_the_standard_one(name, payload, namespace, identifier):
    theirs = stock.Packet(stock.EVENT, data=[name, payload], namespace=namespace, id=identifier).encode()
    read = Packet(encoded_packet=theirs)
    assert (read.data, read.namespace or "/", read.id) == ([name, payload], namespace or "/", identifier)
    ours = Packet(stock.EVENT, data=[name, payload], namespace=namespace, id=identifier).encode()
    read = stock.Packet(encoded_packet=ours)
    assert (read.data, read.namespace or "/", read.id) == ([name, payload], namespace or "/", identifier)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('2["message",NaN]', "message"),
        ('2["message","\\ud800",NaN]', "message"),
        ('2["message",' + "[" * 40 + "]" * 40 + "]", "message"),
        ("2[NaN]", ""),
    ],
)
def test_the_name_is_known_even_if_the_payload_may_not_be(text, name):
    event = Packet(encoded_packet=text).data[0]
    assert event == name
    assert event.problem().code == "bad_payload"


def test_two_parts_may_be_announced_and_not_three():
    assert Packet(encoded_packet='52-7["x"]').part_count == 2
    for count in ("3", "999999999"):
        with pytest.raises(MalformedPacket):
            Packet(encoded_packet=f'5{count}-7["x"]')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "7",
        "2",
        "2{}",
        "2[]",
        '2["message",[',
        '2abc["message"]',
        '4{"message":"x"}',
        "3[]",
        "31{}",
        "1{}",
        '6["x"]',
        '60-["x"]',
        '5["x"]',
        "50-{}",
        '50-["x",{"_placeholder":true,"num":0}]',
        "0abc",
    ],
)
def test_what_is_no_packet_is_malformed(text):
    with pytest.raises(MalformedPacket):
        Packet(encoded_packet=text)


def test_a_namespace_that_is_not_there_is_refused_as_the_reference_server_does_it():
    refusal = Packet(stock.CONNECT_ERROR, data="Unable to connect", namespace="/random")
    assert refusal.encode() == '4/random,{"message":"Invalid namespace"}'
