"""Turns: effects leave in the order in which they became true, whatever sending does meanwhile."""

import threading

from clients import Client, Connect


def test_a_peer_that_dies_while_it_is_sent_to_is_gone_after_the_message_that_found_it_dead(
    app, ann: Client, connect: Connect
):
    victim, bob = connect(user_name="Victim"), connect(user_name="Bob")
    ann.received()
    server = app.extensions["socketio"].server
    send = server._send_eio_packet

    def send_or_die(eio_sid, eio_pkt):
        if eio_sid == victim.socket.eio_sid and eio_sid in server.environ:
            server._handle_eio_disconnect(eio_sid, "transport error")
        send(eio_sid, eio_pkt)

    server._send_eio_packet = send_or_die
    assert ann.call("message", {"message": "hi"})["ok"] is True
    for client in (ann, bob):
        names = [name for name, _ in client.received() if name != "user_joined"]
        assert names == ["new_message", "user_left"]


def test_one_effect_that_cannot_be_sent_does_not_hold_back_the_others(app, ann: Client, bob: Client, caplog):
    fan_out = app.extensions["socketio"].server.manager
    send = fan_out.send

    def crash_on_typing(event, *args, **options):
        if event.event == "user_typing":
            raise OSError("cannot send")
        send(event, *args, **options)

    fan_out.send = crash_on_typing
    ann.emit("typing", {})
    assert ann.call("message", {"message": "hi"})["ok"] is True
    assert [name for name, _ in bob.received()] == ["new_message"]
    assert all("was not sent" in record.getMessage() for record in caplog.records)


def test_threads_take_turns_so_that_seq_only_grows_for_everybody(app, connect: Connect):
    watcher = connect(user_name="Watcher")
    senders = [connect(user_name=str(number)) for number in range(8)]
    watcher.received()
    threads = [
        threading.Thread(target=lambda sender=sender: [sender.emit("message", {"message": "x"}) for _ in range(50)])
        for sender in senders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seqs = [message["seq"] for message in watcher.received("new_message")]
    assert seqs == sorted(seqs)
    assert len(seqs) == 400


def test_no_text_of_a_message_and_no_token_is_logged_at_any_level(make_app, caplog):
    caplog.set_level("DEBUG")
    client = Client(make_app(log_level="debug"), user_name="Ann", token="s3cret-token")
    client.emit("message", {"message": "s3cret-message"})
    client.emit("nope", {"message": "s3cret-message"})
    assert "s3cret" not in caplog.text


def test_a_look_at_the_log_waits_for_no_turn(make_app) -> None:
    """Whoever is in one may wait for a disk, and the look is in the task that sends heartbeats."""
    delivery = make_app().extensions["hazoom_ws"].delivery
    looks: list[int] = []
    delivery._commit.look = lambda: looks.append(1)
    is_in_turn, may_go = threading.Event(), threading.Event()

    def take_turn() -> None:
        with delivery.turn():
            is_in_turn.set()
            may_go.wait(20)

    thread = threading.Thread(target=take_turn)
    thread.start()
    is_in_turn.wait(20)
    delivery.look_at_log(0.0)
    assert looks == []
    may_go.set()
    thread.join()
    delivery.look_at_log(0.0)
    assert looks == [1]
