from clients import Client, Connect, MakeApp
from visitors import Visitor


def test_connect_is_answered_with_a_status_that_says_who_and_where_one_is(app, connect):
    status = Client(app, user_name="Ann").received("status")
    assert len(status) == 1
    assert status[0]["connected"] is True
    assert status[0]["user"] == "Ann"
    assert status[0]["rooms"] == ["general"]
    assert status[0]["server"]["name"] == "hazoom_ws"
    assert status[0]["recovered"] is False
    assert {"message", "sid"} <= status[0].keys()


def test_a_client_without_a_name_is_a_guest_of_its_own(app):
    names = {Client(app).received("status")[0]["user"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("Guest-") and len(name) == len("Guest-") + 4 for name in names)


def test_a_blank_name_is_none(app):
    assert Client(app, user_name="  ").received("status")[0]["user"].startswith("Guest-")


def test_no_default_room_puts_nobody_anywhere_and_general_is_meant_by_no_room(make_app: MakeApp):
    client = Client(make_app(default_room=""))
    assert client.received("status")[0]["rooms"] == []
    assert client.call("message", {"message": "hi"})["error"]["code"] == "not_in_room"
    assert client.call("join_room", {})["room"] == "general"


def test_another_default_room_is_meant_by_events_without_a_room(make_app: MakeApp):
    client = Client(make_app(default_room="lobby"))
    client.received()
    client.emit("message", {"message": "hi"})
    assert client.received("new_message")[0]["room"] == "lobby"


def test_a_message_reaches_the_room_and_its_sender_in_the_fixed_shape(ann: Client, bob: Client):
    acknowledgement = ann.call("message", {"message": "hi", "client_id": "c1"})
    for client in (ann, bob):
        (message,) = client.received("new_message")
        assert message["user"] == "Ann"
        assert message["message"] == "hi"
        assert message["room"] == "general"
        assert message["client_id"] == "c1"
        assert "kind" not in message
        assert {name: message[name] for name in ("id", "seq", "timestamp")} == {
            name: acknowledgement[name] for name in ("id", "seq", "timestamp")
        }
    assert acknowledgement["ok"] is True
    assert acknowledgement["duplicate"] is False


def test_a_message_stays_in_its_room(ann: Client, bob: Client):
    ann.call("join_room", {"room": "secret"})
    ann.call("message", {"message": "psst", "room": "secret"})
    assert bob.received("new_message") == []


def test_the_user_name_of_a_payload_names_a_guest_and_nobody_else(connect: Connect, ann: Client, bob: Client):
    guest = connect()
    bob.received()
    guest.emit("message", {"message": "hi", "user_name": " Annabel "})
    guest.emit("message", {"message": "hi", "user_name": "\u200b"})
    ann.emit("message", {"message": "hi", "user_name": "Bob"})
    named, unnamed, own = [message["user"] for message in bob.received("new_message")]
    assert (named, own) == ("Annabel", "Ann")
    assert unnamed.startswith("Guest-")


def test_a_name_is_trimmed_and_not_the_assistants(connect: Connect, make_app: MakeApp):
    assert connect(user_name=" Ann\u00e9 ").call("join_room", {})["users"] == ["Ann\u00e9"]
    visitor = Visitor(make_app(assistant_name="Robo"))
    for name in ("robo", " ROBO ", "Ro\u0000bo", "x\u202ey"):
        assert visitor.connect(user_name=name)["data"]["code"] == "bad_payload"
    assert "sid" in visitor.connect(user_name="Assistant")


def test_seq_only_grows_and_ids_differ(ann: Client):
    ann.call("join_room", {"room": "b"})
    acknowledgements = [ann.call("message", {"message": "x", "room": room}) for room in ("general", "b", "general")]
    seqs = [acknowledgement["seq"] for acknowledgement in acknowledgements]
    assert seqs == sorted(set(seqs))
    assert len({acknowledgement["id"] for acknowledgement in acknowledgements}) == 3


def test_a_repeated_client_id_returns_the_first_message_and_sends_nothing(ann: Client, bob: Client):
    first = ann.call("message", {"message": "hi", "client_id": "c1"})
    ann.received(), bob.received()
    second = ann.call("message", {"message": "hi", "client_id": "c1"})
    assert second == {**first, "duplicate": True}
    assert bob.received() == []


def test_a_client_id_belongs_to_its_sender_and_room(ann: Client, bob: Client):
    ann.call("join_room", {"room": "b"})
    ann.call("message", {"message": "hi", "client_id": "1"})
    assert bob.call("message", {"message": "hi", "client_id": "1"})["duplicate"] is False
    assert ann.call("message", {"message": "hi", "client_id": "1", "room": "b"})["duplicate"] is False


def test_a_resent_message_is_recognised_over_a_reconnect(app, connect: Connect):
    ann = connect(user_name="Ann")
    ann.call("message", {"message": "hi", "client_id": "c1"})
    ann.socket.disconnect()
    assert connect(user_name="Ann").call("message", {"message": "hi", "client_id": "c1"})["duplicate"] is True


def test_two_guests_who_call_themselves_the_same_send_two_messages(connect: Connect, ann: Client):
    """The second was told that he had sent the first one's message before, and nobody saw his own."""
    guests = [connect(), connect()]
    ann.received()
    for guest in guests:
        said = {"message": "hi", "user_name": "Ann", "client_id": "1"}
        first = guest.call("message", said)
        assert (first["ok"], first["duplicate"]) == (True, False)
        assert guest.call("message", {**said, "user_name": "Annabel"}) == {**first, "duplicate": True}
    assert ann.call("message", {"message": "hi", "client_id": "1"})["duplicate"] is False
    shown = ann.received("new_message")
    assert [entry["user"] for entry in shown] == ["Ann"] * 3
    assert all("sender" not in entry and "guest:" not in str(entry) for entry in shown)


def test_joining_tells_the_joiner_who_is_there_and_the_others_who_came(ann: Client, bob: Client):
    ann.call("join_room", {"room": "team"})
    ann.received()
    acknowledgement = bob.call("join_room", {"room": "team"})
    (joined,) = bob.received("room_joined")
    assert acknowledgement == {"ok": True, **joined, "messages": []}
    assert joined == {"room": "team", "user_count": 2, "users": ["Ann", "Bob"], "complete": True}
    assert ann.received("user_joined") == [{"room": "team", "user": "Bob", "user_count": 2}]
    assert bob.received("user_joined") == []


def test_joining_twice_is_one_membership_and_succeeds(ann: Client, bob: Client):
    bob.call("join_room", {"room": "team"})
    ann.call("join_room", {"room": "team"})
    bob.received()
    assert ann.call("join_room", {"room": "team"})["user_count"] == 2
    assert bob.received() == []
    ann.received()
    bob.call("message", {"message": "once", "room": "team"})
    assert len(ann.received("new_message")) == 1
    assert ann.call("leave_room", {"room": "team"})["user_count"] == 1


def test_two_tabs_are_one_user(connect: Connect, ann: Client, bob: Client):
    tab = connect(user_name="Ann")
    assert tab.call("join_room", {})["user_count"] == 2
    assert bob.received() == []
    tab.socket.disconnect()
    assert bob.received() == []
    ann.socket.disconnect()
    assert bob.received("user_left") == [{"room": "general", "user": "Ann", "user_count": 1}]


def test_leaving_ends_what_one_receives(ann: Client, bob: Client):
    acknowledgement = ann.call("leave_room", {"room": "general"})
    assert acknowledgement == {"ok": True, "room": "general", "user_count": 1}
    assert ann.received() == [("room_left", {"room": "general", "user_count": 1})]
    assert bob.received() == [("user_left", {"room": "general", "user": "Ann", "user_count": 1})]
    bob.call("message", {"message": "hi"})
    assert ann.received() == []


def test_a_room_one_is_not_in_refuses_everything(ann: Client):
    for event, payload in (
        ("leave_room", {}),
        ("message", {"message": "x"}),
        ("typing", {}),
        ("llm_request", {"message": "x"}),
        ("get_history", {}),
    ):
        error = ann.call(event, {**payload, "room": "elsewhere"})["error"]
        assert (error["code"], error["event"], error["retry"]) == ("not_in_room", event, False)


def test_history_comes_with_joining(ann: Client, bob: Client):
    for text in "abc":
        ann.call("message", {"message": text})
    joined = bob.call("join_room", {"history": 2})
    assert [message["message"] for message in joined["messages"]] == ["b", "c"]
    assert joined["complete"] is False
    assert bob.call("join_room", {"history": 3})["complete"] is True
    assert bob.call("join_room", {"history": 0})["messages"] == []


def test_since_replays_what_was_missed(ann: Client, bob: Client):
    seqs = [ann.call("message", {"message": text})["seq"] for text in "abcd"]
    joined = bob.call("join_room", {"since": seqs[1]})
    assert [message["message"] for message in joined["messages"]] == ["c", "d"]
    assert joined["complete"] is True
    joined = bob.call("join_room", {"since": seqs[0], "history": 1})
    assert [message["message"] for message in joined["messages"]] == ["d"]
    assert joined["complete"] is False


def test_since_from_before_a_restart_is_not_complete(ann: Client):
    ann.call("message", {"message": "a"})
    joined = ann.call("join_room", {"since": 1_000_000})
    assert [message["message"] for message in joined["messages"]] == ["a"]
    assert joined["complete"] is False


def test_history_is_read_in_both_directions(ann: Client):
    seqs = [ann.call("message", {"message": text})["seq"] for text in "abcde"]

    def page(**payload):
        reply = ann.call("get_history", payload)
        assert reply["ok"] is True
        assert reply["room"] == "general"
        return "".join(message["message"] for message in reply["messages"]), reply["complete"]

    assert page() == ("abcde", True)
    assert page(limit=2) == ("de", False)
    assert page(before=seqs[3], limit=2) == ("bc", False)
    assert page(before=seqs[1], limit=2) == ("a", True)
    assert page(after=seqs[1], limit=2) == ("cd", False)
    assert page(after=seqs[3], limit=2) == ("e", True)
    assert page(after=seqs[0], before=seqs[4], limit=2) == ("bc", False)


def test_the_room_limit_lets_n_in_and_refuses_one_more(make_app: MakeApp):
    client = Client(make_app(rooms_per_connection_limit=3))
    assert client.call("join_room", {"room": "1"})["ok"]
    assert client.call("join_room", {"room": "2"})["ok"]
    error = client.call("join_room", {"room": "3"})["error"]
    assert error["code"] == "too_many_rooms"
    assert "3" in error["message"]
    assert client.call("join_room", {"room": "2"})["ok"], "a room one is in is no further room"
    client.call("leave_room", {"room": "1"})
    assert client.call("join_room", {"room": "3"})["ok"]


def test_a_room_named_like_a_sid_does_not_receive_what_is_pushed_to_it(app, ann: Client, connect: Connect):
    victim = Client(app, user_name="Victim")
    sid = victim.received("status")[0]["sid"]
    ann.call("join_room", {"room": sid})
    ann.received()
    victim.call("join_room", {"room": "private"})
    assert ann.received() == []


def test_the_rooms_that_there_are_are_listed_with_what_was_said_last_for_members(make_app) -> None:
    app = make_app(rate_limit_per_s=0, default_room="")
    ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
    for client, rooms in ((ann, ("team", "empty")), (bob, ("team", "other"))):
        for room in rooms:
            client.call("join_room", {"room": room})
    said = bob.call("message", {"room": "team", "message": "x" * 300})
    secret = bob.call("message", {"room": "other", "message": "not for Ann"})
    listed = ann.call("get_rooms")
    assert listed["complete"] is True
    assert "after" not in listed
    assert [(room["room"], room["user_count"], room["is_member"], room["last_seq"]) for room in listed["rooms"]] == [
        ("empty", 1, True, 0),
        ("team", 2, True, said["seq"]),
        ("other", 1, False, secret["seq"]),
    ]
    assert [room.get("last_message", {}).get("message") for room in listed["rooms"]] == [None, "x" * 200, None]
    first = ann.call("get_rooms", {"limit": 1})
    assert ([room["room"] for room in first["rooms"]], first["complete"], first["after"]) == (["empty"], False, "empty")
    rest = ann.call("get_rooms", {"after": first["after"]})
    assert [room["room"] for room in rest["rooms"]] == ["team", "other"]
    assert [room["room"] for room in ann.call("get_rooms", {"prefix": "te"})["rooms"]] == ["team"]
    for payload in ({"limit": 0}, {"limit": 101}, {"prefix": 5}, {"after": "x" * 1025}):
        assert ann.call("get_rooms", payload)["error"]["code"] == "bad_payload"
