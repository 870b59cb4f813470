from clients import Client, Connect


def test_stats_count_users_connections_and_rooms(ann: Client, bob: Client, connect: Connect):
    tab = connect(user_name="Ann")
    tab.call("join_room", {"room": "team"})
    ann.call("message", {"message": "hi"})
    ann.received()
    stats = ann.call("get_stats")
    assert ann.received("stats") == [{name: value for name, value in stats.items() if name != "ok"}]
    assert stats["active_users"] == 2
    assert stats["total_connections"] == 3
    assert stats["rooms"] == {"general": 2, "team": 1}
    assert stats["messages_total"] == 1
    assert stats["llm"] == {
        **dict.fromkeys(("active", "queued", "requests_total", "cancelled_total", "tokens_total", "tokens_per_s_p50"), 0),
        **dict.fromkeys((f"{what}_ms_{p}" for what in ("ttft", "duration", "queue") for p in ("p50", "p99")), 0),
        "failures_total": {},
        "circuit": "closed",
    }
    assert stats["uptime_s"] >= 0
    assert stats["rss_mb"] > 1


def test_who_left_is_not_counted(ann: Client, bob: Client):
    bob.socket.disconnect()
    stats = ann.call("get_stats", {})
    assert (stats["active_users"], stats["total_connections"], stats["rooms"]) == (1, 1, {"general": 1})


def test_the_list_of_rooms_is_made_again_only_when_somebody_comes_or_goes(make_app):
    app = make_app(rate_limit_per_s=0)
    client = Client(app)
    hub = app.extensions["hazoom_ws"].hub
    before = hub.rooms.sizes()
    assert hub.rooms.sizes() is before
    client.call("message", {"message": "hi"})
    assert hub.rooms.sizes() is before
    client.call("join_room", {"room": "team"})
    assert hub.rooms.sizes() == {"general": 1, "team": 1}
    client.call("leave_room", {"room": "team"})
    assert hub.rooms.sizes() == {"general": 1}
    client.socket.disconnect()
    assert hub.rooms.sizes() == {}


def test_the_list_of_rooms_is_bounded_in_bytes(make_app):
    app = make_app(rate_limit_per_s=0, rooms_per_connection_limit=2000)
    client = Client(app)
    for number in range(400):
        client.call("join_room", {"room": f"{number:03}" + "\u20ac" * 125})
    rooms = client.call("get_stats")["rooms"]
    assert 100 < len(rooms) < 400
    assert sum(len(name.encode()) for name in rooms) <= 65_536
