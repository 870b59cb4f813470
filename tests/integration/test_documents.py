"""Documents with the editors that users have: yjs over y-socket.io, unmodified."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from pycrdt import Doc, Text

from servers import Hazoom, OfficialClient, free_port, hazoom, wait_until
from yjs import Editors

Run = Callable[..., AbstractContextManager[Hazoom]]
MB = 1_048_576


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


@pytest.fixture
def run(async_mode: str, file: Path) -> Run:
    """Return a function that runs the server on one port with one file."""
    port = free_port()
    env = {"HAZOOM_LOG_URL": f"sqlite:///{file}"}
    return lambda **more: hazoom(async_mode=async_mode, port=port, env=env | more, demo=True)


@pytest.fixture
def server(run: Run) -> Iterator[Hazoom]:
    with run() as server:
        yield server


@pytest.fixture
def editors() -> Iterator[Editors]:
    with Editors() as editors:
        yield editors


def test_who_types_at_the_same_time_ends_with_the_same_text(server: Hazoom, editors: Editors) -> None:
    ann, bob = editors.open(server.url, "doc"), editors.open(server.url, "doc")
    for number in range(50):
        ann.type(f"a{number} ")
        bob.type(f"b{number} ", at=0)
    ann.wait(
        lambda: ann.state()["length"] == bob.state()["length"] == 2 * sum(len(f"a{n} ") for n in range(50)), "all is here"
    )
    assert ann.text == bob.text
    bob.delete(0, 10)
    ann.wait_for_text(bob.text)


def test_what_was_written_offline_is_merged(server: Hazoom, editors: Editors) -> None:
    ann, bob = editors.open(server.url, "doc"), editors.open(server.url, "doc")
    ann.type("both. ")
    bob.wait_for_text("both. ")
    bob.leave()
    bob.type("bob offline. ")
    ann.type("ann online. ")
    bob.come_back()
    ann.wait(lambda: len(ann.text) == len("both. bob offline. ann online. "), "all is here")
    bob.wait_for_text(ann.text)


def test_what_another_was_told_survives_a_kill(run: Run) -> None:
    """Nobody brings it back: its author has gone."""
    with Editors() as author, Editors() as reader:
        with run() as server:
            ann, bob = author.open(server.url, "doc"), reader.open(server.url, "doc")
            ann.type_many(2000)
            bob.wait(lambda: bob.state()["length"] > 300, "a part is told")
            server.child.kill()
            author.kill()
        told = bob.state()["length"]
        reader.kill()
    with run() as server, Editors() as editors:
        assert editors.open(server.url, "doc").state()["length"] >= told > 0


def test_a_document_is_there_after_a_restart_and_small(run: Run, file: Path) -> None:
    with Editors() as editors, run() as server:
        ann = editors.open(server.url, "doc")
        ann.type_many(5000)
        bob = editors.open(server.url, "doc")
        bob.wait(lambda: bob.state()["length"] == 5000, "all is here")
    with run() as server, Editors() as editors:
        cid = editors.open(server.url, "doc")
        cid.wait(lambda: cid.state()["length"] == 5000, "all is here")
        cid.type("!")
        snapshot_bytes = len(_document_of(cid.text))

        def kept_bytes() -> int:
            with closing(sqlite3.connect(file)) as connection:
                tables = ("snapshots", "document_updates")
                return sum(
                    connection.execute(f"SELECT coalesce(sum(length(data)), 0) FROM {table}").fetchone()[0]
                    for table in tables
                )

        wait_until(lambda: 0 < kept_bytes() <= 3 * snapshot_bytes, "it takes at most three times its snapshot")


def _document_of(text: str) -> bytes:
    """Return what a document takes whose letters were each typed by itself before all others."""
    doc = Doc()
    doc["content"] = shared = Text()
    for letter in reversed(text):
        shared.insert(0, letter)
    return bytes(doc.get_update())


def test_who_is_here_comes_and_goes(server: Hazoom, editors: Editors) -> None:
    ann, bob = editors.open(server.url, "doc", user="Ann"), editors.open(server.url, "doc", user="Bob")
    ann.wait_for_others("Bob")
    bob.wait_for_others("Ann")
    bob.drop()
    ann.wait_for_others()
    ann.wait_for_others("Bob")
    bob.wait_for_others("Ann")
    bob.set_user("Bobby")
    ann.wait_for_others("Bobby")
    with Editors() as others:
        others.open(server.url, "doc", user="Cid")
        ann.wait_for_others("Bobby", "Cid")
    ann.wait_for_others("Bobby")
    bob.leave()
    ann.wait_for_others()


def test_who_is_here_is_known_after_a_restart(run: Run, editors: Editors) -> None:
    with run() as server:
        ann, bob = editors.open(server.url, "doc", user="Ann"), editors.open(server.url, "doc", user="Bob")
        ann.wait_for_others("Bob")
        bob.wait_for_others("Ann")
        server.child.kill()
        ann.wait_for_others()
    with run():
        ann.wait_for_others("Bob")
        bob.wait_for_others("Ann")


def test_five_editors_at_rest_say_nothing_and_a_change_goes_to_each_once(server: Hazoom, editors: Editors) -> None:
    five = [editors.open(server.url, "doc", user=str(number)) for number in range(5)]
    for number, editor in enumerate(five):
        editor.wait_for_others(*(str(other) for other in range(5) if other != number))
    counts: list[int] = []

    def total() -> int:
        counts.append(sum(editor.state()["events"] for editor in five))
        return counts[-1]

    # Two looks in a row see the same: whoever speaks without end would never come to that.
    wait_until(lambda: total() == total() and len(set(counts[-4:])) == 1, "they are at rest")
    before = total()
    five[0].set_user("first")
    for editor in five[1:]:
        editor.wait(lambda editor=editor: "first" in editor.others(), "the change")
    wait_until(lambda: total() == total() and len(set(counts[-4:])) == 1, "they are at rest")
    assert total() - before == 1 + 4 + 4, "said once, told to four, and each of them says an echo that nobody is told"


@pytest.mark.parametrize("names", [("tea m", "tea m"), ("caf\u00e9", "cafe\u0301"), ("\u8336", "\u8336")])
def test_the_names_of_documents(names: tuple[str, str], server: Hazoom, editors: Editors) -> None:
    ann, bob = (editors.open(server.url, name) for name in names)
    ann.type("hi")
    bob.wait_for_text("hi")
    assert server.stats()["rooms"] == {}, "a document is no room, and who opens it no member"


@pytest.mark.parametrize(("name", "why"), [("x" * 129, "limit is 128"), (" ", "blank"), ("a\u202eb", "direction")])
def test_a_name_that_cannot_be_is_refused(name: str, why: str, server: Hazoom, editors: Editors) -> None:
    ann = editors.start(server.url, name)
    ann.wait(lambda: ann.state()["refused"] is not None, "refused")
    refused = ann.state()["refused"]
    assert refused["code"] == "bad_payload"
    assert why in refused["message"]


def test_an_update_of_four_megabytes_goes_through_and_a_larger_one_is_refused(server: Hazoom, editors: Editors) -> None:
    ann, bob = editors.open(server.url, "doc"), editors.open(server.url, "doc")
    ann.type("x" * (4 * MB - 1000))
    bob.wait(lambda: bob.state()["length"] == 4 * MB - 1000, "it is here")
    cid = editors.open(server.url, "doc")
    cid.wait(lambda: cid.state()["length"] == 4 * MB - 1000, "it is here at once")
    ann.type("y" * 4 * MB)
    ann.wait(lambda: ann.state()["error"] is not None, "it is told")
    assert ann.state()["error"]["code"] == "too_large"
    assert "the limit is 4194304" in ann.state()["error"]["message"]
    ann.wait(lambda: ann.state()["ended"] == "io server disconnect", "it does not come back to do the same again")
    assert bob.state()["length"] == 4 * MB - 1000


def test_malformed_updates_end_the_third_time(server: Hazoom, editors: Editors) -> None:
    ann, bob = editors.open(server.url, "doc"), editors.open(server.url, "doc")
    ann.type("hi")
    bob.wait_for_text("hi")
    for _ in range(2):
        ann.send_raw("sync-update", b"\xff" * 20)
    ann.type("!")
    bob.wait_for_text("hi!")
    ann.send_raw("awareness-update", b"\x05")
    ann.wait(lambda: not ann.state()["connected"], "ended")
    assert server.child.log.count("has sent what cannot be read") == 3
    bob.type("?")
    assert bob.state()["connected"]


def test_a_document_that_nobody_has_open_leaves_memory_and_is_there_again(run: Run, editors: Editors) -> None:
    with run(HAZOOM_DOCUMENT_IDLE_S="0.05") as server:
        for _ in range(3):
            ann = editors.open(server.url, "doc")
            ann.type("more ")
            bob = editors.open(server.url, "doc")
            bob.wait_for_text(ann.text)
            ann.leave()
            bob.leave()
        cid = editors.open(server.url, "doc")
        cid.wait_for_text("more " * 3)


def test_the_ai_writes_into_a_document_as_all_see(server: Hazoom, editors: Editors, client: OfficialClient) -> None:
    ann = editors.open(server.url, "doc", user="Ann")
    ann.type("Question. ")
    asker = client.connect(server.url, auth={"user_name": "Ann"})
    reply = asker.emit("llm_request", {"message": "hello", "document": "doc"})
    assert reply["ok"], reply
    ann.wait(lambda: "Assistant" in ann.others(), "the assistant is here")
    complete = asker.wait_for("llm_complete")
    ann.wait_for_text("Question. " + complete["response"])
    ann.wait_for_others()
    bob = editors.open(server.url, "doc")
    bob.wait_for_text(ann.text)


def test_an_answer_that_is_stopped_stays_as_far_as_it_has_come(
    server: Hazoom, editors: Editors, client: OfficialClient
) -> None:
    ann = editors.open(server.url, "doc")
    asker = client.connect(server.url, auth={"user_name": "Ann"})
    request_id = asker.emit("llm_request", {"message": "hello", "document": "doc"})["request_id"]
    ann.wait(lambda: ann.text, "it has begun")
    asker.emit("llm_cancel", {"request_id": request_id})
    complete = asker.wait_for("llm_complete")
    assert complete["finish_reason"] == "cancelled"
    ann.wait_for_text(complete["response"])
    refused = asker.emit("llm_request", {"message": "hello", "document": "x" * 129})
    assert refused["error"]["code"] == "bad_payload"
    assert "document: 129 characters" in refused["error"]["message"]


def test_a_connection_has_as_many_documents_open_as_it_may_be_in_rooms(run: Run, client: OfficialClient) -> None:
    with run(HAZOOM_ROOMS_PER_CONNECTION_LIMIT="2", HAZOOM_DEFAULT_ROOM="") as server:
        socket = client.connect(server.url, transports=["websocket"])
        for name in ("a", "b"):
            socket.try_to_open_namespace(f"/yjs|{name}").wait_for("connect")
        refused = socket.try_to_open_namespace("/yjs|c").wait_for("connect_error")
        assert refused["data"]["code"] == "too_many_rooms"
