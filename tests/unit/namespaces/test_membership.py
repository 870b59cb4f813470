"""Identity and membership belong to the connection and hold across its namespaces."""

from clients import Client, Connect


def test_who_joined_on_rooms_gets_typing_on_typing(app, connect: Connect):
    ann, bob = connect("/rooms", user_name="Ann"), connect("/rooms", user_name="Bob")
    for client in (ann, bob):
        client.socket.connect("/typing")
        client.call("join_room", {"room": "team"}, namespace="/rooms")
        client.received(namespace="/typing")
    ann.emit("typing", {"room": "team"}, namespace="/typing")
    assert bob.received(namespace="/typing") == [("user_typing", {"user": "Ann", "is_typing": True, "room": "team"})]
    assert bob.received("user_typing", namespace="/rooms") == []


def test_the_identity_of_the_first_namespace_holds_on_the_others(connect: Connect):
    ann = connect("/rooms", user_name="Ann")
    ann.socket.connect("/stats", auth={"user_name": "Mallory"})
    (status,) = ann.received("status", namespace="/stats")
    assert status["user"] == "Ann"
    assert ann.call("get_stats", namespace="/stats")["total_connections"] == 1


def test_an_event_goes_once_to_each_namespace_that_serves_it(ann: Client, bob: Client):
    bob.socket.connect("/rooms")
    bob.received(namespace="/rooms")
    ann.emit("message", {"message": "hi"})
    assert len(bob.received("new_message")) == 1
    assert len(bob.received("new_message", namespace="/rooms")) == 1


def test_membership_lasts_until_the_last_namespace_is_left(connect: Connect, bob: Client):
    cy = connect("/rooms", user_name="Cy")
    cy.socket.connect("/typing")
    bob.received()
    cy.socket.disconnect("/rooms")
    assert bob.received() == []
    cy.socket.disconnect("/typing")
    assert bob.received("user_left") == [{"room": "general", "user": "Cy", "user_count": 2}]


def test_a_feature_namespace_serves_its_own_events_only(connect: Connect):
    client = connect("/typing")
    error = client.call("message", {"message": "hi"}, namespace="/typing")["error"]
    assert error["code"] == "unknown_event"


def test_an_unknown_namespace_is_refused(app):
    assert not Client(app, "/").socket.is_connected("/admin")
    client = app.extensions["socketio"].test_client(app, namespace="/admin")
    assert not client.is_connected("/admin")


def test_two_applications_share_nothing(make_app):
    one, other = Client(make_app()), Client(make_app())
    one.received(), other.received()
    one.call("message", {"message": "hi"})
    assert other.received() == []
    assert other.call("get_stats")["messages_total"] == 0
    assert other.call("get_stats")["total_connections"] == 1
