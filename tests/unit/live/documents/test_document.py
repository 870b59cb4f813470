"""A document in memory: what is merged, what waits, what is refused, and that replicas converge with it."""

import gc
import random
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from hazoom_ws.live.documents.document import NOTHING, Document
from hazoom_ws.live.documents.errors import MalformedUpdate
from hazoom_ws.message_log.documents import DocumentUpdate


class Replica:
    """A client's own document, and the updates that it has made."""

    def __init__(self, client_id: int = 1) -> None:
        self.doc = Doc(client_id=client_id)
        self.doc["content"] = self.text = Text()
        self.updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self.updates.append(bytes(event.update)))

    def type(self, text: str, at: int | None = None) -> bytes:
        self.text.insert(len(str(self.text).encode()) if at is None else at, text)
        return self.updates[-1]

    def delete(self, at: int, count: int) -> bytes:
        del self.text[at : at + count]
        return self.updates[-1]


def restarted(document: Document) -> Document:
    """Return what is read again of a document: its snapshot, and what that leaves out."""
    read = Document()
    read.merge(document.snapshot())
    for entry in document.waiting():
        read.merge(entry.data)
        if read.waits(entry.data):
            read.wait(entry)
    document.close()
    return read


def text_of(document: Document) -> str:
    return document.text("content")


def test_an_update_is_merged_once() -> None:
    document, ann = Document(), Replica()
    update = ann.type("hi")
    assert document.merge(update)
    assert not document.merge(update)
    assert not document.waits(update)
    assert text_of(document) == "hi"


def test_an_update_that_needs_another_waits_for_it() -> None:
    document, ann = Document(), Replica()
    first, second, third = ann.type("a"), ann.type("b"), ann.type("c")
    document.merge(first)
    assert not document.merge(third)
    assert document.waits(third)
    document.wait(DocumentUpdate(7, "doc", third))
    assert document.waiting() == [DocumentUpdate(7, "doc", third)]
    assert document.merge(second)
    assert text_of(document) == "abc"
    assert document.waiting() == []


def test_a_deletion_that_comes_before_what_it_deletes_survives_a_restart() -> None:
    """It has changed nothing when it comes, and was forgotten with the document."""
    ann, document = Replica(), Document()
    inserted, deleted = ann.type("abc"), ann.delete(1, 1)
    assert document.merge(deleted) == []
    assert document.waits(deleted)
    document.wait(DocumentUpdate(1, "doc", deleted))
    document = restarted(document)
    document.merge(inserted)
    assert (text_of(document), document.waiting()) == ("ac", [])
    assert not document.waits(deleted)
    assert not document.waits(bytes(ann.doc.get_update()))


def test_an_update_that_only_deletes_changes_something() -> None:
    document, ann = Document(), Replica()
    document.merge(ann.type("abc"))
    state_vector = document.state_vector()
    assert document.merge(ann.delete(0, 1))
    assert document.state_vector() == state_vector, "so it says nothing of what was deleted"
    assert text_of(document) == "bc"
    assert not document.merge(bytes(ann.doc.get_update(document.state_vector()))), "all deletions again"


@pytest.mark.parametrize("data", [b"", b"\x01", b"xxxxx", b"\xff" * 20])
def test_what_cannot_be_read_is_malformed_and_changes_nothing(data: bytes) -> None:
    document = Document()
    with pytest.raises(MalformedUpdate):
        document.merge(data)
    assert document.snapshot() == NOTHING
    with pytest.raises(MalformedUpdate):
        document.difference(b"\xff" * 20)


@given(st.data())
@settings(max_examples=200)
def test_a_mutated_update_is_merged_or_malformed(data: st.DataObject) -> None:
    ann, document = Replica(), Document()
    for letter in "hello":
        ann.type(letter, at=0)
    update = bytearray(ann.doc.get_update())
    for _ in range(data.draw(st.integers(1, 3))):
        update[data.draw(st.integers(0, len(update) - 1))] = data.draw(st.integers(0, 255))
    try:
        document.merge(bytes(update))
    except MalformedUpdate:
        return
    # What others are sent of it can be read, and says the same.
    other = Document()
    other.merge(document.snapshot())
    assert other.snapshot() == document.snapshot()


def test_what_is_passed_on_are_the_engine_s_own_words() -> None:
    """It reads updates that bring Yjs in a browser to a halt, such as one with a number that takes a byte too many."""
    ann, document = Replica(), Document()
    update = ann.type("x")
    assert document.merge(update) == [update]
    longer = Replica(2).type("y").replace(b"\x01\x01\x02", b"\x01\x81\x00\x02", 1)
    [said] = document.merge(longer)
    assert said != longer
    other = Document()
    other.merge(update)
    assert other.merge(said) == [said]
    assert text_of(other) == text_of(document)


@given(
    st.randoms(use_true_random=False), st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 9)), max_size=40)
)
@settings(max_examples=100)
def test_random_updates_in_any_order_converge(chance: random.Random, steps: list[tuple[int, bool, int]]) -> None:
    replicas, document = [Replica(number) for number in range(1, 4)], Document()
    for which, deletes, at in steps:
        replica = replicas[which]
        length = len(str(replica.text))
        if deletes and length:
            replica.delete(at % length, 1)
        else:
            replica.type(chance.choice("abcdef"), at=at % (length + 1))
        if chance.random() < 0.2:
            replica.doc.apply_update(document.difference(bytes(replica.doc.get_state())))
    updates = [update for replica in replicas for update in replica.updates]
    updates += [chance.choice(updates) for _ in range(len(updates) // 3)]
    chance.shuffle(updates)
    for number, update in enumerate(updates):
        document.merge(update)
        if document.waits(update):
            document.wait(DocumentUpdate(number, "doc", update))
        if chance.random() < 0.1:
            document = restarted(document)
    assert document.waiting() == []
    for replica in replicas:
        replica.doc.apply_update(document.difference(bytes(replica.doc.get_state())))
        assert str(replica.text) == text_of(document)


def test_a_pen_writes_to_the_end_and_can_undo_that() -> None:
    document, ann = Document(), Replica()

    def show(updates: list[bytes]) -> None:
        for update in updates:
            ann.doc.apply_update(update)
        assert str(ann.text) == text_of(document)

    document.merge(ann.type("Frage\U0001f600. "))
    pen = document.pen("content", "the AI")
    show(pen.write("\u201cAnt\u00e9"))
    document.merge(ann.type("!", at=0))
    document.merge(ann.type(" PS."))
    show(pen.write("wort\u201d"))
    assert text_of(document) == "!Frage\U0001f600. \u201cAnt\u00e9 PS.wort\u201d"
    show(pen.undo())
    assert text_of(document) == "!Frage\U0001f600.  PS."


def test_a_closed_document_leaves_memory() -> None:
    document = Document()
    document.merge(Replica().type("x"))
    inner = weakref.ref(document._doc)
    document.close()
    del document
    gc.collect()
    assert inner() is None
