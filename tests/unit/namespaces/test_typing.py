from clients import Client, Connect, MakeApp


def test_the_others_see_typing_and_the_typist_does_not(ann: Client, bob: Client):
    assert ann.call("typing", {}) == {"ok": True}
    assert bob.received() == [("user_typing", {"user": "Ann", "is_typing": True, "room": "general"})]
    ann.emit("typing", {"is_typing": False})
    assert bob.received() == [("user_typing", {"user": "Ann", "is_typing": False, "room": "general"})]
    assert ann.received() == []


def test_the_typists_other_tab_is_not_told(ann: Client, connect: Connect):
    tab = connect(user_name="Ann")
    ann.emit("typing", {})
    assert tab.received() == []


def test_sending_ends_typing(ann: Client, bob: Client):
    ann.emit("typing", {})
    bob.received()
    ann.emit("message", {"message": "hi"})
    assert [name for name, _ in bob.received()] == ["user_typing", "new_message"]
    ann.emit("message", {"message": "again"})
    assert [name for name, _ in bob.received()] == ["new_message"]


def test_leaving_and_dropping_end_typing(ann: Client, bob: Client):
    ann.call("join_room", {"room": "b"})
    bob.call("join_room", {"room": "b"})
    ann.emit("typing", {"room": "b"})
    ann.emit("typing", {})
    bob.received()
    ann.call("leave_room", {"room": "b"})
    assert [name for name, _ in bob.received()] == ["user_typing", "user_left"]
    ann.socket.disconnect()
    assert bob.received("user_typing") == [{"user": "Ann", "is_typing": False, "room": "general"}]


def test_typing_expires_by_itself_and_the_next_one_does_too(make_app: MakeApp):
    app = make_app(typing_expiry_s=0.05)
    ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
    for _ in range(2):
        ann.emit("typing", {})
        assert bob.wait_for("user_typing")["is_typing"] is True
        assert bob.wait_for("user_typing")["is_typing"] is False


def test_the_name_in_a_guests_payload_is_shown_until_the_end(connect: Connect, bob: Client):
    guest = connect()
    bob.received()
    guest.emit("typing", {"user_name": "Annabel"})
    guest.emit("message", {"message": "hi", "user_name": "Annabel"})
    assert [payload["user"] for payload in bob.received("user_typing")] == ["Annabel", "Annabel"]
