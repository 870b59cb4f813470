from hazoom_ws.chat.limits import TokenBucket


def test_the_burst_is_allowed_at_once_and_one_more_is_not():
    bucket = TokenBucket(10, 3, now_s=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(0.0) == 0.1


def test_tokens_come_back_with_time_up_to_the_burst():
    bucket = TokenBucket(10, 2, now_s=0.0)
    bucket.take(0.0), bucket.take(0.0)
    assert bucket.take(0.05) > 0
    assert bucket.take(0.1) == 0
    assert [bucket.take(100.0) == 0 for _ in range(3)] == [True, True, False]


def test_a_refusal_costs_nothing():
    bucket = TokenBucket(1, 1, now_s=0.0)
    bucket.take(0.0)
    for _ in range(100):
        bucket.take(0.5)
    assert bucket.take(1.0) == 0


def test_a_rate_of_zero_allows_all():
    bucket = TokenBucket(0, 1, now_s=0.0)
    assert {bucket.take(0.0) for _ in range(1000)} == {0}
