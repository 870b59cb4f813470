"""Documents that are open on several processes at once, with the editors that users have."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from redis_server import RedisServer, running_redis
from servers import Hazoom, OfficialClient, Socket, hazoom, unique, wait_until
from yjs import Editor, Editors

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """Return a Redis that loses nothing when it is killed."""
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as redis:
        yield redis


def start(redis: RedisServer, stack: ExitStack, *async_modes: str) -> list[Hazoom]:
    env = {"HAZOOM_LOG_URL": redis.url(), "HAZOOM_DOCUMENT_IDLE_S": "1", "HAZOOM_LOG_REDIS_TIMEOUT_S": "1"}
    return [stack.enter_context(hazoom(async_mode=mode, env=env, demo=True)) for mode in async_modes]


@pytest.fixture(scope="module")
def servers(redis: RedisServer) -> Iterator[list[Hazoom]]:
    with ExitStack() as stack:
        yield start(redis, stack, "eventlet", "threading")


@pytest.fixture
def editors() -> Iterator[Editors]:
    with Editors() as editors:
        yield editors


def number_in(answer: bytes) -> int:
    return int(answer.removeprefix(b":"))


def all_have(editors: list[Editor], length: int) -> None:
    for editor in editors:
        editor.wait(lambda editor=editor: editor.state()["length"] == length, f"{length} characters are here")
    assert len({editor.text for editor in editors}) == 1


def test_who_types_at_the_same_time_on_two_processes_ends_with_the_same_text(
    redis: RedisServer, servers: list[Hazoom], editors: Editors
) -> None:
    document = unique("doc")
    people = [editors.open(server.url, document) for server in servers for _ in range(2)]
    for number in range(100):
        for editor in people:
            editor.type(f"{number:9} ", at=0 if number % 2 else -1)
    all_have(people, 100 * len(people) * 10)
    people[0].delete(0, 1000)
    people[3].type("!")
    all_have(people, 100 * len(people) * 10 - 999)
    late = editors.open(servers[1].url, document)
    assert late.text == people[0].text
    key = f"{{hazoom}}:updates:{document}"
    wait_until(lambda: number_in(redis.ask("XLEN", key)) < 200, "snapshots have replaced most updates")


def test_who_is_here_comes_and_goes_on_all_processes(servers: list[Hazoom], editors: Editors) -> None:
    document = unique("doc")
    here, there = (server.url for server in servers)
    ann, bob = editors.open(here, document, user="Ann"), editors.open(there, document, user="Bob")
    ann.wait_for_others("Bob")
    bob.wait_for_others("Ann")
    bob.drop()
    ann.wait_for_others()
    ann.wait_for_others("Bob")
    bob.wait_for_others("Ann")
    bob.set_user("Bobby")
    ann.wait_for_others("Bobby")
    with Editors() as others:
        cid = others.open(there, document, user="Cid")
        cid.wait_for_others("Ann", "Bobby")
        ann.wait_for_others("Bobby", "Cid")
    ann.wait_for_others("Bobby")
    bob.leave()
    ann.wait_for_others()


def test_the_ai_of_one_process_writes_into_a_document_that_another_has_open(
    servers: list[Hazoom], editors: Editors, client: OfficialClient
) -> None:
    document = unique("doc")
    ann = editors.open(servers[1].url, document, user="Ann")
    ann.type("Question. ")
    asker = client.connect(servers[0].url)
    assert asker.emit("llm_request", {"message": "hello", "document": document})["ok"]
    ann.wait(lambda: "Assistant" in ann.others(), "the assistant is here")
    complete = asker.wait_for("llm_complete")
    ann.wait_for_text("Question. " + complete["response"])
    ann.wait_for_others()


def buffer(data: bytes) -> dict:
    return {"type": "Buffer", "data": list(data)}


def enter(client: OfficialClient, server: Hazoom, board: str) -> Socket:
    """Do as Excalidraw does: connect, wait for ``init-room``, join."""
    socket = client.try_to_connect(server.url, "/excalidraw", transports=["websocket"])
    socket.wait_for("init-room")
    socket.send("join-room", board)
    return socket


def sid_of(socket: Socket) -> str:
    return socket.received("connect")[0]["sid"]


def wait_for_members(*sockets: Socket) -> None:
    """Wait until each knows all of them, and nobody else."""
    sids = {sid_of(socket) for socket in sockets}

    def know_all() -> bool:
        told = [socket.received("room-user-change") for socket in sockets]
        return all(each and set(each[-1]) == sids and len(each[-1]) == len(sids) for each in told)

    wait_until(know_all, f"all know that {len(sids)} are there")


def test_a_drawing_goes_to_all_processes(redis: RedisServer, servers: list[Hazoom], client: OfficialClient) -> None:
    board = unique("board")
    ann = enter(client, servers[0], board)
    ann.wait_for("first-in-room")
    bob = enter(client, servers[1], board)
    assert ann.wait_for("new-user") == sid_of(bob)
    wait_for_members(ann, bob)
    assert bob.received("first-in-room") == []
    for number in range(50):
        ann.send("server-broadcast", board, buffer(bytes([number]) * 5000), buffer(b"initial vector"))
    bob.send("server-volatile-broadcast", board, buffer(b"cursor"), buffer(b"iv"))
    client.wait(lambda: len(bob.received("client-broadcast")) == 50, "all of the drawing")
    assert bob.received("client-broadcast") == [buffer(bytes([number]) * 5000) for number in range(50)]
    assert ann.wait_for("client-broadcast") == buffer(b"cursor")
    bob.send("user-follow", {"userToFollow": {"socketId": sid_of(ann)}, "action": "FOLLOW"})
    assert ann.wait_for("user-follow-room-change") == [sid_of(bob)]
    ann.send("server-volatile-broadcast", f"follow@{sid_of(ann)}", buffer(b"where"), buffer(b"iv"))
    bob.wait_for("client-broadcast", lambda said: said == buffer(b"where"))
    cid = enter(client, servers[1], board)
    assert ann.wait_for("new-user", lambda sid: sid == sid_of(cid))
    wait_for_members(ann, bob, cid)
    bob.disconnect()
    ann.wait_for("broadcast-unfollow")
    wait_for_members(ann, cid)
    cid.disconnect()
    ann.disconnect()
    wait_until(lambda: redis.ask("EXISTS", f"{{hazoom}}:board:{board}") == b":0", "nothing is kept of it")


def test_a_redis_that_dies_in_the_middle_loses_nothing(
    redis: RedisServer, servers: list[Hazoom], editors: Editors, client: OfficialClient
) -> None:
    document = unique("doc")
    people = [editors.open(server.url, document, user=f"user {n}") for n, server in enumerate(servers)]
    board = unique("board")
    drawing = [enter(client, server, board) for server in servers]
    wait_for_members(*drawing)
    with Editors() as readers:
        reading = unique("doc")
        quiet = [readers.open(server.url, reading, user=f"quiet {n}") for n, server in enumerate(servers)]
        quiet[0].type("said before")
        quiet[1].wait_for_text("said before")
        _die_and_come_back(redis, people)
        late = editors.open(servers[1].url, document)
        all_have([late, *people], 2 * (1500 + len("while it is away")))
        people[0].type("after ", at=0)
        people[1].wait(lambda: people[1].text.startswith("after "), "both hear each other again")
        people[0].wait_for_others("user 1")
        quiet[1].type(", and after")
        quiet[0].wait_for_text("said before, and after")
        quiet[0].wait_for_others("quiet 1")
        assert [editor.state()["ended"] for editor in quiet] == [None, None], "who says nothing has not noticed"
    assert [socket.received("disconnect") for socket in drawing] == [[], []], "nor has who draws"
    drawing[0].send("server-broadcast", board, buffer(b"drawn after"), buffer(b"iv"))
    assert drawing[1].wait_for("client-broadcast") == buffer(b"drawn after")
    wait_for_members(*drawing)


def _die_and_come_back(redis: RedisServer, people: list[Editor]) -> None:
    """Let Redis die while they type."""
    for editor in people:
        editor.type_many(1500)
    people[0].wait(lambda: people[0].state()["length"] > 1600, "a part is told")
    redis.kill()
    for editor in people:
        editor.type("while it is away")
    redis.start()
    all_have(people, 2 * (1500 + len("while it is away")))


def test_what_was_shown_survives_the_process_that_its_author_was_on(
    redis: RedisServer, servers: list[Hazoom], client: OfficialClient
) -> None:
    """Nobody brings it back: its author has died too."""
    document, board = unique("doc"), unique("board")
    with ExitStack() as stack, Editors() as author, Editors() as readers:
        [dying] = start(redis, stack, "eventlet")
        ann = author.open(dying.url, document, user="Ann")
        bob = readers.open(servers[0].url, document, user="Bob")
        bob.wait_for_others("Ann")
        drawing = [enter(client, server, board) for server in (dying, *servers)]
        wait_for_members(*drawing)
        ann.type_many(3000)
        bob.type_many(1000)
        bob.wait(lambda: bob.state()["length"] > 1500, "a part of what Ann types is told")
        dying.child.kill()
        author.kill()
        told = bob.state()["length"]
        cid = readers.open(servers[1].url, document, user="Cid")
        assert cid.state()["length"] >= told
        cid.type("!")
        bob.wait(lambda: bob.text.endswith("!"), "it goes on")
        bob.wait_for_text(cid.text)
        bob.wait_for_others("Cid")
        cid.wait_for_others("Bob")
        wait_for_members(*drawing[1:])
