"""The AI writes into a document: everybody's editor shows it as it comes, kept like all else, whole or not at all."""

import json

from editors import Peer, Scene
from hazoom_ws.live.documents.awareness import decode
from hazoom_ws.live.documents.writer import Writer


def scene_with_ann() -> tuple[Scene, Peer]:
    scene = Scene()
    ann = scene.peer(client_id=1)
    ann.type("Question. ")
    scene.keep()
    return scene, ann


def write(scene: Scene, *tokens: str) -> Writer:
    writer = Writer(scene.documents, "doc", "content", "Assistant")
    for token in tokens:
        writer.add(token)
        scene.keep()
    return writer


def test_what_it_writes_is_seen_as_it_comes_and_kept() -> None:
    scene, ann = scene_with_ann()
    writer = write(scene, "An", "", "swer")
    assert str(ann.text) == scene.kept_text() == "Question. Answer"
    assert len(ann.events("sync-update")) == 2
    [entry] = decode(ann.events("awareness-update")[0])
    state = json.loads(entry.state)
    assert state["user"]["name"] == "Assistant"
    assert state["cursor"]["head"] == {"type": None, "tname": "content", "item": None, "assoc": 0}, "at the end"
    writer.end(undo=False)
    scene.now_s += 1
    scene.documents.run_due()
    scene.keep()
    assert decode(ann.events("awareness-update")[-1])[0][::2] == (entry.client_id, "null")
    assert str(ann.text) == "Question. Answer"


def test_it_is_taken_back_and_what_others_wrote_stays() -> None:
    scene, ann = scene_with_ann()
    writer = write(scene, "An", "swer")
    ann.type(" PS.")
    scene.keep()
    writer.end(undo=True)
    scene.keep()
    assert str(ann.text) == scene.kept_text() == "Question.  PS."


def test_it_writes_into_a_document_that_nobody_has_open_and_lets_it_go() -> None:
    scene = Scene()
    writer = write(scene, "An", "swer")
    scene.finish()
    writer.end(undo=False)
    scene.finish()
    assert scene.kept_text() == "Answer"
    assert scene.documents.is_empty


def test_what_of_it_could_not_be_kept_is_written_again() -> None:
    scene, ann = scene_with_ann()
    writer = write(scene, "An")
    writer.add("swer")
    scene.fail()
    assert ann.is_closed
    scene.documents.leave(ann)
    scene.store.is_unwell = True
    writer.add(" is")
    scene.finish()
    scene.store.is_unwell = False
    writer.add(" 42")
    scene.finish()
    writer.end(undo=False)
    scene.finish()
    assert scene.kept_text() == "Question. Answer is 42"


def test_it_goes_when_nothing_can_be_kept_at_its_end() -> None:
    scene, ann = scene_with_ann()
    writer = write(scene, "An")
    scene.documents.leave(ann)
    scene.store.is_unwell = True
    writer.add("swer")
    writer.end(undo=False)
    scene.finish()
    assert scene.documents.is_empty
    assert scene.kept_text() == "Question. An"
