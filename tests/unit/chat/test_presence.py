from hazoom_ws.chat.presence import Connection, Members, User
from hazoom_ws.chat.typing import TypingIndicators, TypingKey

ANN = User("name:Ann", "Ann")


def connection(name: str) -> Connection:
    return Connection(name, ANN, conversation_id="s")


def test_a_user_is_there_from_the_first_connection_to_the_last():
    members, phone, laptop = Members(), connection("phone"), connection("laptop")
    assert members.add(phone) is True
    assert members.add(laptop) is False
    assert len(members) == 1
    assert members.connections_of(ANN) == (phone, laptop)
    assert members.remove(phone) is False
    assert members.remove(laptop) is True
    assert len(members) == 0


def test_typing_ends_at_its_time_and_not_before():
    typing, key = TypingIndicators(5.0), TypingKey(connection("a"), "general", "Ann")
    typing.start(key, 100.0)
    assert typing.next_due_at_s() == 105.0
    assert typing.expire(104.99) == []
    assert typing.expire(105.0) == [key]
    assert typing.next_due_at_s() is None


def test_renewing_moves_the_end_behind_those_that_end_earlier():
    typing = TypingIndicators(5.0)
    first, second = (TypingKey(connection(name), "general", name) for name in "ab")
    typing.start(first, 0.0)
    typing.start(second, 1.0)
    typing.start(first, 2.0)
    assert typing.expire(6.0) == [second]
    assert typing.expire(7.0) == [first]


def test_stop_all_ends_the_indicators_of_one_connection_in_one_room():
    typing, ann, bob = TypingIndicators(5.0), connection("a"), connection("b")
    keys = [TypingKey(ann, "r", "x"), TypingKey(ann, "r", "y"), TypingKey(ann, "s", "x"), TypingKey(bob, "r", "x")]
    for key in keys:
        typing.start(key, 0.0)
    assert set(typing.stop_all(ann, "r")) == set(keys[:2])
    assert typing.expire(5.0) == keys[2:]
    assert typing.stop(keys[0]) is False
