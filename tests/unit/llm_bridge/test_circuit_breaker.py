"""The circuit: closed, open, and one try at a time in between."""

from hazoom_ws.llm_bridge.circuit_breaker import CircuitBreaker


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_it_opens_after_failures_in_a_row_and_not_before():
    breaker = CircuitBreaker(3, 10.0, Clock())
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
        assert (breaker.state, breaker.admit(), breaker.wait_s) == ("closed", 0, 0)
    breaker.failed()
    assert (breaker.state, breaker.admit(), breaker.wait_s) == ("open", 10, 10)


def test_after_the_pause_one_may_try_and_its_success_closes_it():
    clock = Clock()
    breaker = CircuitBreaker(1, 10.0, clock)
    breaker.failed()
    clock.now_s += 4
    assert breaker.admit() == 6
    clock.now_s += 6
    assert (breaker.state, breaker.wait_s) == ("half_open", 0)
    assert breaker.admit() == 0
    assert breaker.admit() == 10
    breaker.succeeded()
    assert (breaker.state, breaker.admit()) == ("closed", 0)


def test_a_try_that_fails_or_is_never_heard_of_opens_it_for_another_pause():
    clock = Clock()
    breaker = CircuitBreaker(1, 10.0, clock)
    breaker.failed()
    for _ in range(3):
        clock.now_s += 10
        assert breaker.admit() == 0
        assert breaker.admit() == 10
    clock.now_s += 10
    assert breaker.admit() == 0
    clock.now_s += 1
    breaker.failed()
    assert (breaker.state, breaker.wait_s) == ("open", 10)


def test_a_backend_that_asks_for_a_pause_gets_it_whatever_succeeds_meanwhile():
    clock = Clock()
    breaker = CircuitBreaker(2, 10.0, clock)
    breaker.pause(30)
    breaker.pause(5)
    breaker.succeeded()
    assert (breaker.state, breaker.admit(), breaker.wait_s) == ("open", 30, 30)
    clock.now_s += 30
    assert (breaker.state, breaker.admit(), breaker.wait_s) == ("closed", 0, 0)
    for _ in range(2):
        breaker.failed()
    breaker.pause(4)
    assert breaker.wait_s == 10
    clock.now_s += 10
    assert (breaker.state, breaker.admit(), breaker.admit()) == ("half_open", 0, 10)
