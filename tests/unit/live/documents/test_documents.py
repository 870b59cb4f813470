"""Who has which document open, what they say, and when what is kept."""

import pytest
from pycrdt import Doc, Text

from editors import Peer, Scene
from hazoom_ws.live.documents.awareness import Entry, decode, encode


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_update_is_kept_before_anybody_else_hears_of_it(scene: Scene) -> None:
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    update = ann.type("hi")
    assert not bob.events("sync-update")
    scene.keep()
    assert bob.events("sync-update") == [update]
    assert ann.events("sync-update") == [], "it has said it itself"
    assert scene.kept_text() == str(bob.text) == "hi"


def test_who_enters_gets_what_is_there_and_is_asked_for_what_is_not(scene: Scene) -> None:
    ann = scene.peer(client_id=1)
    ann.type("from Ann. ")
    scene.keep()
    bob = Peer(scene, 2)
    bob.text += "offline. "
    bob.enter()
    scene.finish()
    assert "from Ann. " in str(bob.text)
    bob.answer()
    scene.finish()
    assert str(ann.text) == str(bob.text) == scene.kept_text()
    assert "offline. " in str(ann.text)


def test_a_reply_with_nothing_new_is_not_kept(scene: Scene) -> None:
    """It has all that was ever deleted: the document would grow with each reconnection."""
    ann = scene.peer()
    ann.type("abc")
    scene.keep()
    state_vector = ann.doc.get_state()
    del ann.text[0:1]
    scene.documents.update(ann, bytes(ann.doc.get_update(state_vector)))
    scene.keep()
    kept = len(scene.store.read("doc").updates)
    for _ in range(3):
        scene.documents.leave(ann)
        ann.enter()
        scene.finish()
        ann.answer()
        scene.finish()
    assert len(scene.store.read("doc").updates) == kept


@pytest.mark.parametrize("is_refused", [False, True])
def test_what_cannot_be_kept_is_shown_to_nobody_and_all_come_back(scene: Scene, is_refused: bool) -> None:
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    ann.type("kept. ")
    scene.keep()
    scene.store.is_unwell = is_refused
    ann.type("lost? ")
    late = Peer(scene, 3)
    if not is_refused:
        late.enter()  # before it is known
    scene.fail()
    assert (ann.is_closed, bob.is_closed) == (True, True)
    assert (len(bob.events("sync-update")), str(late.text)) == (1, "")
    scene.store.is_unwell = False
    for peer in (ann, bob, late):
        scene.documents.leave(peer)
    bob.enter()
    ann.enter()
    scene.finish()
    ann.answer()
    scene.finish()
    assert str(ann.text) == str(bob.text) == scene.kept_text() == "kept. lost? "


def test_a_document_is_not_read_before_it_is_known_what_of_it_is_kept(scene: Scene) -> None:
    """It would miss what was kept a moment later, and its next snapshot would replace that."""
    ann = scene.peer()
    ann.type("one ")
    scene.store.is_unwell = True
    ann.type("two ")
    assert scene.documents.open_count == 0
    scene.store.is_unwell = False
    scene.documents.leave(ann)
    bob = Peer(scene, 2)
    bob.enter()
    assert not scene.threads
    scene.finish()
    assert str(bob.text) == "one "


def test_what_is_said_while_it_is_read_or_something_takes_long_is_done_in_order(scene: Scene) -> None:
    ann, bob = scene.peer(client_id=1), Peer(scene, 2)
    ann.type("x" * 300_000)
    assert len(scene.threads) == 1
    ann.type("y")
    ann.type("z")
    bob.enter()
    scene.keep()
    assert str(bob.text) == ""
    scene.end_thread()
    scene.finish()
    assert str(bob.text) == scene.kept_text() == "x" * 300_000 + "yz"


def test_a_document_that_is_edited_often_stays_small(scene: Scene) -> None:
    ann = scene.peer()
    for _ in range(5000):
        ann.type("x")
        scene.keep()
        stored = scene.store.read("doc")
        size_bytes = len(stored.snapshot or b"") + stored.updates_bytes
        assert size_bytes <= max(16_500, 3 * len(ann.doc.get_update()))
    assert scene.kept_text() == "x" * 5000


def test_what_waits_for_another_update_survives_a_snapshot_and_a_restart(scene: Scene) -> None:
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    updates: list[bytes] = []
    other = Doc(client_id=9)
    other["content"] = text = Text()
    subscription = other.observe(lambda event: updates.append(bytes(event.update)))
    text += "a"
    text += "b"
    scene.documents.update(ann, updates[1])
    scene.keep()
    assert bob.events("sync-update") == [], "it says nothing yet"
    for _ in range(400):
        bob.type("long enough ")
        scene.keep()
    assert scene.store.read("doc").snapshot is not None
    scene.documents.leave(ann)
    scene.documents.leave(bob)
    scene.now_s += 61
    scene.documents.let_go_idle()
    assert scene.documents.open_count == 0
    cid, dora = scene.peer(client_id=3), scene.peer(client_id=4)
    scene.documents.update(cid, updates[0])
    scene.keep()
    assert "ab" in str(dora.text), "what has waited comes along"
    assert cid.events("sync-update"), "also to who brought what it waited for"
    assert {"a", "b"} <= set(scene.kept_text())
    assert "ab" in scene.kept_text()
    other.unobserve(subscription)


def test_what_waits_is_bounded_and_who_says_more_comes_back(scene: Scene) -> None:
    """Each change tries all that waits again: 4 MB of it would take half a second for each letter that others type."""
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    other = Peer(scene, 9)
    other.text += "a"
    state_vector = other.doc.get_state()
    other.text += "b" * 70_000
    scene.documents.update(ann, bytes(other.doc.get_update(state_vector)))
    scene.finish()
    assert len(scene.noted) == 1
    assert (ann.is_closed, bob.is_closed, scene.store.read("doc")) == (True, True, None)
    bob.enter()
    scene.documents.update(bob, bytes(other.doc.get_update()))
    scene.finish()
    assert scene.kept_text() == "a" + "b" * 70_000


def test_an_update_of_many_insertions_goes_on_in_pieces_and_its_sender_hears_none_of_them(scene: Scene) -> None:
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    with ann.doc.transaction():
        for number in range(9000):
            ann.text.insert(number // 2, "x")
    scene.documents.update(ann, bytes(ann.doc.get_update()))
    scene.finish()
    assert len(bob.events("sync-update")) == 3
    assert ann.events("sync-update") == []
    assert str(bob.text) == scene.kept_text() == str(ann.text)


def test_the_third_malformed_update_ends_the_connection(scene: Scene) -> None:
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    for number, bad in enumerate([b"xxxxx", "text", b"\xff" * 20]):
        assert ann.ended == "no"
        if number == 1:
            scene.documents.awareness_update(ann, bad)
        else:
            scene.documents.update(ann, bad)
        scene.keep()
    assert ann.ended is None
    assert len(scene.noted) == 3
    assert (bob.ended, bob.is_closed, scene.store.read("doc")) == ("no", False, None)


def test_the_limits_of_an_update_and_of_a_document() -> None:
    scene = Scene(update_limit_bytes=1000, document_limit_bytes=1500)
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    scene.documents.update(ann, b"x" * 1001)
    scene.keep()
    assert str(ann.ended) == "update: 1001 bytes, the limit is 1000"
    bob.type("y" * 970)
    scene.finish()
    assert bob.ended == "no"
    bob.type("z" * 600)
    scene.finish()
    assert "document: " in str(bob.ended)
    assert "the limit is 1500" in str(bob.ended)
    assert scene.kept_text() == "y" * 970


def test_a_document_that_nobody_has_open_leaves_memory_and_is_there_again(scene: Scene) -> None:
    ann = scene.peer()
    ann.type("hi")
    scene.keep()
    scene.documents.leave(ann)
    assert scene.documents.is_empty
    scene.now_s += 59
    assert scene.documents.let_go_idle() == pytest.approx(1)
    assert scene.documents.open_count == 1
    scene.now_s += 1
    assert scene.documents.let_go_idle() is None
    assert scene.documents.open_count == 0
    assert str(scene.peer(client_id=2).text) == "hi"


def test_awareness_goes_out_at_once_and_then_in_ticks(scene: Scene) -> None:
    ann, bob = scene.peer(client_id=1), scene.peer(client_id=2)
    for clock in range(1, 5):
        scene.documents.awareness_update(ann, encode([Entry(1, clock, f'"{clock}"')]))
    scene.keep()
    assert [decode(update) for update in bob.events("awareness-update")] == [[Entry(1, 1, '"1"')]]
    scene.now_s += 0.034
    scene.documents.run_due()
    scene.keep()
    assert decode(bob.events("awareness-update")[-1]) == [Entry(1, 4, '"4"')], "the last one always arrives"
    assert [decode(update) for update in ann.events("awareness-update")] == [[Entry(1, 1, "null")]], "it may be known"
    scene.documents.leave(ann)
    scene.now_s += 0.034
    scene.documents.run_due()
    scene.keep()
    assert decode(bob.events("awareness-update")[-1]) == [Entry(1, 5, "null")]


def test_closing_lets_go_of_all(scene: Scene) -> None:
    ann = scene.peer()
    scene.peer("another", 2)
    scene.documents.close()
    scene.keep()
    assert (scene.documents.open_count, ann.is_closed) == (0, True)


def test_documents_are_read_one_after_the_other_and_so_many_wait_and_no_more(scene: Scene) -> None:
    peers = [Peer(scene, number) for number in range(1, 504)]
    for number, peer in enumerate(peers):
        peer.enter(str(number))
    scene.keep()
    assert len(scene.threads) == 1
    assert [peer.is_closed for peer in peers] == [False] * 501 + [True] * 2
    for _ in range(501):
        scene.end_thread()
    scene.keep()
    assert [len(peer.asked) for peer in peers] == [1] * 501 + [0] * 2
    for peer in peers:
        scene.documents.leave(peer)
    assert scene.documents.is_empty
    assert scene.documents.open_count == 100, "that nobody has open"


@pytest.mark.parametrize("is_typing", [True, False])
def test_what_is_open_is_kept_again_when_the_file_that_had_it_is_lost(scene: Scene, is_typing: bool) -> None:
    ann, bob = scene.peer(client_id=1), scene.peer("another", client_id=2)
    ann.type("hi")
    bob.type("ho")
    scene.keep()
    scene.store.lose()
    assert scene.store.read("doc") is None
    if is_typing:
        ann.type("!")
    else:
        scene.documents.awareness_update(ann, encode([Entry(1, 1, "{}")]))
    scene.finish()
    assert scene.kept_text() == ("hi!" if is_typing else "hi")
    assert scene.kept_text("another") == "ho"
