"""Which server has our keys is asked of whoever answers, and not asked again until the log wants that."""

from typing import Any

import pytest

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.redis.finding import OUR_SLOT, Finder, NobodyKnows
from hazoom_ws.settings.redis_url import Node, parse_redis_url

ONE, TWO, THREE = Node("one", 1), Node("two", 2), Node("three", 3)


class Asked:
    """Nodes that answer what the test says, and how often each was asked."""

    def __init__(self, answers: dict[Node, Any]) -> None:
        self.answers = answers
        self.asked: list[Node] = []

    def __call__(self, node: Node, command: tuple[str, ...]) -> Any:
        self.asked.append(node)
        answer = self.answers.get(node)
        if isinstance(answer, str):
            raise LogUnavailable(answer)
        return answer


def finder(url: str, answers: dict[Node, Any]) -> tuple[Finder, Asked]:
    asked = Asked(answers)
    return Finder(parse_redis_url(url), asked), asked


def slots(master: Node, *replicas: Node, first: int = 0, last: int = 16383) -> list[Any]:
    return [first, last, *([node.host.encode(), node.port, b"id", []] for node in (master, *replicas))]


def test_our_slot_is_that_of_the_hash_tag() -> None:
    assert OUR_SLOT == 6732  # CLUSTER KEYSLOT {hazoom}:about


def test_what_was_found_is_kept_until_it_is_to_be_forgotten() -> None:
    found, asked = finder("redis+sentinel://one:1,two:2/m", {ONE: [b"three", b"3"], TWO: [b"two", b"9"]})
    assert found.known is None
    assert [found.find(), found.find()] == [THREE, THREE]
    asked.answers[ONE] = [b"two", b"2"]
    assert found.find() == THREE
    assert asked.asked == [ONE]
    found.forget()
    assert found.find() == TWO
    assert found.known == TWO


def test_who_does_not_answer_or_does_not_know_is_asked_last_the_next_time() -> None:
    found, asked = finder("redis+sentinel://one:1,two:2,three:3/m", {ONE: "away", TWO: None, THREE: [b"two", b"2"]})
    for _ in range(2):
        assert found.find() == TWO
        found.forget()
    assert asked.asked == [ONE, TWO, THREE, THREE]


def test_if_nobody_knows_it_is_said_why() -> None:
    found, _ = finder("redis+sentinel://one:1,two:2/m", {ONE: "away", TWO: None})
    with pytest.raises(NobodyKnows) as caught:
        found.find()
    assert caught.value.reason == "no Sentinel that can be reached knows the master (away)"
    found, _ = finder("redis+cluster://one:1", {ONE: [slots(ONE, last=OUR_SLOT - 1)]})
    with pytest.raises(NobodyKnows) as caught:
        found.find()
    assert caught.value.reason == "no node of the cluster that can be reached knows who has our keys"


def test_in_a_cluster_the_node_of_our_slot_is_found_and_others_are_known_from_then_on() -> None:
    parts = [slots(ONE, last=OUR_SLOT - 1), slots(TWO, THREE, first=OUR_SLOT)]
    found, asked = finder("redis+cluster://one:1", {ONE: parts})
    assert found.find() == TWO
    asked.answers = {ONE: "away", TWO: "away", THREE: [slots(THREE, TWO)]}
    found.forget()
    assert found.find() == THREE


@pytest.mark.parametrize("told", [b"", b"?", None])
def test_a_node_that_does_not_know_its_own_host_is_where_it_was_asked(told: bytes | None) -> None:
    found, _ = finder("redis+cluster://one:1", {ONE: [[0, 16383, [told, 7, b"id", []]]]})
    assert found.find() == Node("one", 7)
