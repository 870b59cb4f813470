"""The outbox: a bound, an order, and a total over all of them that comes back to zero."""

import json
from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hazoom_ws.events.llm import LlmToken
from hazoom_ws.transport.bounds.outbox import DroppableFrame, Outbox, OutboxTotal, PatientFrame, TokenFrame
from hazoom_ws.transport.engineio.engine import Engine

PLENTY = 1_000_000


def outbox(limit_bytes: int = PLENTY, total: OutboxTotal | None = None) -> Outbox:
    return Outbox(limit_bytes, total or OutboxTotal(PLENTY))


def test_frames_are_taken_while_the_outbox_is_under_its_bound_and_the_next_one_is_refused():
    full = outbox(10)
    assert full.add(b"x" * 9)
    assert full.add(b"x")
    assert full.size_bytes == 10
    assert not full.add(b"")
    assert full.size_bytes == 10


def test_the_last_frame_may_go_over_the_bound_so_that_a_large_one_can_pass_at_all():
    full = outbox(10)
    assert full.add(b"x" * 9)
    assert full.add(b"y" * 1000)
    assert not full.add(b"z")


def test_over_the_bound_a_droppable_frame_is_lost_without_a_word():
    full = outbox(10)
    full.add(b"x" * 10)
    assert full.add(DroppableFrame(b"typing"))
    assert full.pop_all() == [b"x" * 10]


def test_over_the_bound_droppable_frames_make_room_for_the_others_which_keep_their_order():
    full = outbox(10)
    for framed in (b"aaa", DroppableFrame(b"typing"), b"bbb"):
        full.add(framed)
    assert full.add(b"ccc")
    assert full.size_bytes == 9
    assert full.add(b"d")
    assert not full.add(b"e")
    assert full.pop_all() == [b"aaa", b"bbb", b"ccc", b"d"]


def test_under_the_bound_a_droppable_frame_keeps_its_place():
    calm = outbox(100)
    frames = [b"a", DroppableFrame(b"typing"), b"b"]
    for framed in frames:
        calm.add(framed)
    assert calm.pop_all() == frames


def test_what_is_put_back_comes_first_again_whatever_the_bound():
    full = outbox(10)
    full.add(b"aaaaaa")
    full.add(b"bbbbbb")
    taken = full.pop(6)
    full.put_back(taken, 2)
    assert full.size_bytes == 10
    full.put_back(b"xx", 0)
    assert full.size_bytes == 12
    assert full.pop(PLENTY) == b"xxaaaabbbbbb"


def test_half_a_droppable_frame_that_is_put_back_is_not_dropped():
    full = outbox(10)
    full.add(DroppableFrame(b"0123456789"))
    full.put_back(full.pop(PLENTY), 4)
    full.add(b"xxxx")
    assert not full.add(b"y")
    assert full.pop(PLENTY) == b"456789xxxx"


def test_taking_joins_whole_frames_up_to_the_limit_and_at_least_one():
    some = outbox()
    for framed in (b"aaaa", b"bb", b"cc", b"d"):
        some.add(framed)
    assert some.pop(3) == b"aaaa"
    assert some.pop(4) == b"bbcc"
    assert some.pop(4) == b"d"
    assert not some


def test_over_the_total_those_are_full_that_hold_their_share():
    total = OutboxTotal(1600)
    assert total.share_bytes == 100
    large, middling, small = (outbox(total=total) for _ in range(3))
    assert middling.add(bytes(100))
    assert large.add(bytes(1499))
    assert large.add(b"x")
    assert not large.add(b"x")
    assert not middling.add(b"x")
    assert small.add(bytes(99))
    assert small.add(b"x")
    assert not small.add(b"x")
    large.clear()
    assert middling.add(b"x")
    assert total.size_bytes == 201


def test_a_share_is_small_however_large_the_total_is():
    assert OutboxTotal(268_435_456).share_bytes == 16_384


def test_dropping_helps_against_the_total_too():
    total = OutboxTotal(16)
    one = outbox(total=total)
    one.add(DroppableFrame(bytes(16)))
    assert one.add(b"y")
    assert total.size_bytes == 1


def polling_engine() -> Engine:
    engine = Engine(async_mode="threading", async_handlers=False)
    engine.on("connect", lambda *_: None)
    engine.on("disconnect", lambda *_: None)
    return engine


def test_a_polling_session_that_ends_with_unsent_frames_gives_its_bytes_back_to_the_total():
    engine = polling_engine()
    session = engine.open()
    session.start_polling()
    session.send_frame(b"unsent")
    assert engine._outbox_total.size_bytes == 6
    engine.close(session, "gone")
    assert engine._outbox_total.size_bytes == 0


def test_what_is_delivered_to_a_session_after_its_end_is_lost_and_counted_nowhere():
    engine = polling_engine()
    polling, never_set_up = engine.open(), engine.open()
    polling.start_polling()
    for session in (polling, never_set_up):
        engine.close(session, "gone")
        session.send_frame(b"too late")
    assert engine._outbox_total.size_bytes == 0


def token(index: int, text: str = "", *, request_id: str = "r", offset: int = 0) -> TokenFrame:
    event = LlmToken(token=text or f"t{index} ", request_id=request_id, index=index)
    return TokenFrame.of(frame_of, "/", event, b"%d" % (offset or 100 + index))


def frame_of(namespace: str, event: LlmToken, offset: bytes) -> bytes:
    return json.dumps([namespace, event.request_id, event.index, event.token, int(offset)]).encode()


FILLER = b"x" * 4096  # as much as makes a reader a slow one


def slow_outbox() -> Outbox:
    box = outbox()
    box.add(FILLER)
    return box


def taken_tokens(box: Outbox) -> list[object]:
    return [json.loads(framed) if framed.startswith(b"[") else framed for framed in box.pop_all() if framed != FILLER]


def test_a_reader_that_is_hardly_slow_gets_each_token_by_itself():
    box = outbox()
    for index in range(5):
        box.add(token(index))
    assert [entry[2:4] for entry in taken_tokens(box)] == [[index, f"t{index} "] for index in range(5)]


def test_tokens_of_one_stream_that_wait_become_one_with_the_first_index_and_the_last_offset():
    box = slow_outbox()
    for index in range(3, 1003):
        box.add(token(index, "ü"))
    assert box.size_bytes < 4096 + 2100
    assert taken_tokens(box) == [["/", "r", 3, "ü" * 1000, 1102]]
    assert box.size_bytes == 0
    box.add(token(1003))
    assert taken_tokens(box) == [["/", "r", 1003, "t1003 ", 1103]]


def test_joined_tokens_keep_the_first_place_and_claim_no_offset_beyond_what_follows_them():
    box = slow_outbox()
    for framed in (token(0), b"message", token(1), token(0, request_id="s"), token(2)):
        box.add(framed)
    assert taken_tokens(box) == [["/", "r", 0, "t0 t1 t2 ", 100], b"message", ["/", "s", 0, "t0 ", 100]]
    for framed in (FILLER, token(3), token(4), b"message"):
        box.add(framed)
    assert taken_tokens(box) == [["/", "r", 3, "t3 t4 ", 104], b"message"]


def test_tokens_are_joined_with_the_one_before_them_only():
    box = slow_outbox()
    for index in (0, 1, 5, 6, 2):
        box.add(token(index))
    assert [entry[2:4] for entry in taken_tokens(box)] == [[0, "t0 t1 "], [5, "t5 t6 "], [2, "t2 "]]


def test_tokens_after_what_was_taken_begin_anew_and_half_a_frame_is_never_joined():
    box = outbox()
    box.add(token(0, "x" * 5000))
    data = box.pop(PLENTY)
    box.put_back(data, 5)
    box.add(token(1))
    assert box.pop(PLENTY) == data[5:] + bytes(token(1))
    assert not box


def test_a_reader_is_not_called_slow_for_an_answer_of_any_length_but_for_what_else_it_does_not_take():
    box = outbox(5000)
    assert box.add(PatientFrame(b"x" * 30_000))
    assert box.add(PatientFrame(b"y" * 30_000))
    assert box.add(b"z" * 5000)
    assert not box.add(b"z")
    taken = box.pop(1)
    assert taken == b"x" * 30_000
    box.put_back(taken, 10_000)
    assert not box.add(b"z")
    assert [len(framed) for framed in box.pop_all()] == [20_000, 30_000, 5000]
    assert box.add(PatientFrame(b"x" * 85_000))
    assert not box.add(b"z"), "there is a bound to that too"


def test_a_snapshot_ends_what_tokens_are_joined_to():
    box = slow_outbox()
    box.add(token(0))
    box.add(token(1))
    snapshot = PatientFrame(b"snapshot")
    snapshot.stream = ("/", "r")
    box.add(snapshot)
    for index in (2, 3):
        box.add(token(index))
    assert taken_tokens(box) == [["/", "r", 0, "t0 t1 ", 101], b"snapshot", ["/", "r", 2, "t2 t3 ", 103]]


def test_joined_tokens_count_for_the_bound():
    box = outbox(5000)
    box.add(FILLER)
    number = 0
    while box.add(token(number, "x" * 100)):
        number += 1
    assert number == 9
    assert 5000 <= box.size_bytes < 5100


frames = st.builds(
    lambda kind, size: kind(bytes(size)), st.sampled_from([bytes, DroppableFrame, PatientFrame]), st.integers(1, 30)
)


class SeveralOutboxes(RuleBasedStateMachine):
    """Whatever is done to several outboxes, each holds what a list would hold, and the total is their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.total = OutboxTotal(160)
        self.outboxes = [Outbox(80, self.total) for _ in range(3)]
        self.models: list[deque[bytes]] = [deque() for _ in range(3)]
        self.number = 0

    @rule(index=st.integers(0, 2), framed=frames)
    def add(self, index, framed):
        self.number += 1
        framed = type(framed)(bytes([self.number % 256]) * len(framed))
        model = self.models[index]

        def is_full():
            size_bytes = sum(len(one) for one in model if type(one) is not PatientFrame)
            total_bytes = sum(len(one) for other in self.models for one in other)
            return size_bytes >= 80 or (sum(map(len, model)) >= 10 and total_bytes >= 160)

        expected = True
        if is_full() and type(framed) is not DroppableFrame:
            kept = [one for one in model if type(one) is not DroppableFrame]
            model.clear()
            model.extend(kept)
            expected = not is_full()
            if expected:
                model.append(framed)
        elif not is_full():
            model.append(framed)
        assert self.outboxes[index].add(framed) is expected

    @rule(index=st.integers(0, 2), limit_bytes=st.integers(1, 80), sent=st.integers(0, 80))
    @precondition(lambda self: any(self.models))
    def send(self, index, limit_bytes, sent):
        model, box = self.models[index], self.outboxes[index]
        assert bool(box) is bool(model)
        if not model:
            return
        taken = box.pop(limit_bytes)
        expected = [model.popleft()]
        while model and len(b"".join([*expected, model[0]])) <= limit_bytes:
            expected.append(model.popleft())
        assert taken == b"".join(expected)
        if sent < len(taken):
            box.put_back(taken, sent)
            is_patient = any(type(one) is PatientFrame for one in expected)
            model.appendleft((PatientFrame if is_patient else bytes)(taken[sent:]))

    @rule(index=st.integers(0, 2))
    def take_all(self, index):
        assert self.outboxes[index].pop_all() == list(self.models[index])
        self.models[index].clear()

    @rule(index=st.integers(0, 2))
    def clear(self, index):
        self.outboxes[index].clear()
        self.models[index].clear()

    @invariant()
    def sizes_are_right(self):
        assert [box.size_bytes for box in self.outboxes] == [sum(map(len, model)) for model in self.models]
        assert self.total.size_bytes == sum(box.size_bytes for box in self.outboxes)

    def teardown(self):
        for box in self.outboxes:
            while box:
                box.pop(7)
        assert self.total.size_bytes == 0


TestSeveralOutboxes = SeveralOutboxes.TestCase


@given(pieces=st.lists(frames, min_size=1, max_size=20), limit_bytes=st.integers(1, 50), sent=st.integers(1, 50))
def test_bytes_leave_in_the_order_in_which_frames_came_however_little_is_sent_at_once(pieces, limit_bytes, sent):
    total = OutboxTotal(PLENTY)
    box = outbox(total=total)
    whole = [type(piece)(bytes([number]) * len(piece)) for number, piece in enumerate(pieces)]
    for framed in whole:
        assert box.add(framed)
    left = b""
    while box:
        taken = box.pop(limit_bytes)
        left += taken[:sent]
        if taken[sent:]:
            box.put_back(taken, sent)
    assert left == b"".join(whole)
    assert (box.size_bytes, total.size_bytes) == (0, 0)
