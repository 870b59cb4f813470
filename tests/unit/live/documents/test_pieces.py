"""An update of many insertions is cut such that its pieces say the same, and each comes after what it needs."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from hazoom_ws.live.documents.document import Document
from hazoom_ws.live.documents.errors import MalformedUpdate
from hazoom_ws.live.documents.pieces import pieces


def content(chance: random.Random) -> object:
    """Return one of all the things that an array or a map may hold."""
    return chance.choice(
        [
            chance.choice(["", "x", "\u00fc", "\U0001f600" * 3, "long " * 60]),
            chance.choice([True, False, None, 0, -1, 2**40, -(2**40), 1.5, 1e300]),
            {"a": [1, {"b": None}], "\u00fc": b"\x00\xff"},
            bytes(chance.randrange(200)),
            Text("text"),
            Array([1, Map({"in": "it"})]),
            Map({"one": 1, "two": [2]}),
            Doc(),
        ]
    )


def edit(doc: Doc, chance: random.Random) -> None:
    """Do one thing of all that can be done to a document."""
    text, array, map_ = doc.get("text", type=Text), doc.get("array", type=Array), doc.get("map", type=Map)
    xml = doc.get("xml", type=XmlFragment)
    match chance.randrange(9):
        case 0 | 1:
            text.insert(0 if chance.random() < 0.5 else len(text), chance.choice(["a", "\u00fc", "\U0001f600"]))
        case 2:
            text.insert(0, "b", {"bold": True, "link": {"to": "x"}})
        case 3:
            text.insert_embed(0, {"image": "x"})
        case 4:
            array.insert(chance.randrange(len(array) + 1), content(chance))
        case 5:
            map_[chance.choice("abc")] = content(chance)
        case 6:
            element = xml.children.append(XmlElement(chance.choice(["p", "h1"])))
            element.attributes["class"] = "c"
            element.children.append(XmlText("in it"))
        case 7 if len(array):
            del array[chance.randrange(len(array))]
        case 8 if str(text):
            text.clear()


def document_of_many(chance: random.Random, edits_count: int) -> Doc:
    """Return a document that several clients have edited, with something of each other now and then."""
    docs = [Doc(client_id=chance.choice([number, 2**32 - number, 2**52 + number])) for number in range(1, 5)]
    for _ in range(edits_count):
        doc, other = chance.sample(docs, 2)
        edit(doc, chance)
        if chance.random() < 0.3:
            other.apply_update(doc.get_update(other.get_state()))
    for doc in docs:
        docs[0].apply_update(doc.get_update())
    return docs[0]


@given(st.randoms(use_true_random=False), st.integers(0, 60), st.integers(1, 20))
@settings(max_examples=150)
def test_pieces_say_the_same_and_none_waits_for_another(chance: random.Random, edits_count: int, limit_count: int) -> None:
    update = bytes(document_of_many(chance, edits_count).get_update())
    cut = list(pieces(update, limit_count))
    document, whole = Document(), Document()
    for piece in cut:
        document.merge(piece)
        assert not document.waits(piece)
    whole.merge(update)
    assert document.state_vector() == whole.state_vector()
    assert not document.waits(update)
    assert not whole.waits(document.snapshot())
    if len(update) > 30 * limit_count + 2000:
        assert len(cut) > 1


@given(st.data())
@settings(max_examples=150)
def test_what_cannot_be_cut_stays_as_it_is(data: st.DataObject) -> None:
    """The engine says what it thinks of it, as of the whole."""
    chance = random.Random(data.draw(st.integers(0, 100)))
    update = bytearray(document_of_many(chance, 15).get_update())
    for _ in range(data.draw(st.integers(1, 3))):
        update[data.draw(st.integers(0, len(update) - 1))] = data.draw(st.integers(0, 255))
    document, whole = Document(), Document()
    try:
        whole.merge(bytes(update))
    except MalformedUpdate:
        return
    try:
        for piece in pieces(bytes(update), 4):
            document.merge(piece)
    except MalformedUpdate:
        document.merge(bytes(update))
    if not whole.waits(bytes(update)):  # else the engine stops at what is missing, and may go further with another order
        assert document.state_vector() == whole.state_vector()


@pytest.mark.parametrize("at", ["end", "begin"])
def test_a_document_of_many_insertions_is_merged_in_pieces(at: str) -> None:
    ann = Doc(client_id=1)
    ann["content"] = text = Text()
    with ann.transaction():
        for number in range(9000):
            text.insert(0 if at == "begin" else number // 2, "x")
    document = Document()
    assert [len(change) < 100_000 for change in document.merge(bytes(ann.get_update()))] == [True] * 3
    assert document.text("content") == str(text)


def test_deletions_are_cut_too() -> None:
    ann = Doc(client_id=1)
    ann["content"] = text = Text()
    text += "x" * 20_000
    state_vector = ann.get_state()
    before = bytes(ann.get_update())
    with ann.transaction():
        for number in range(10_000):
            del text[number : number + 1]
    update = bytes(ann.get_update(state_vector))
    document = Document()
    document.merge(before)
    assert len(document.merge(update)) == 3
    assert document.text("content") == "x" * 10_000
