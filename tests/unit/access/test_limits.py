from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.access.limits import Account
from hazoom_ws.settings import Settings


def test_the_burst_is_allowed_at_once_and_one_more_is_not():
    bucket = TokenBucket(10, 3, now_s=0.0)
    assert [bucket.spend(0.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.spend(0.0) == 0.1


def test_tokens_come_back_with_time_up_to_the_burst():
    bucket = TokenBucket(10, 2, now_s=0.0)
    bucket.spend(0.0), bucket.spend(0.0)
    assert bucket.spend(0.05) > 0
    assert bucket.spend(0.1) == 0
    assert [bucket.spend(100.0) == 0 for _ in range(3)] == [True, True, False]


def test_a_refusal_costs_nothing():
    bucket = TokenBucket(1, 1, now_s=0.0)
    bucket.spend(0.0)
    for _ in range(100):
        bucket.spend(0.5)
    assert bucket.spend(1.0) == 0


def test_a_rate_of_zero_allows_all():
    bucket = TokenBucket(0, 1, now_s=0.0)
    assert {bucket.spend(0.0) for _ in range(1000)} == {0}


def test_what_costs_more_than_the_bucket_holds_is_allowed_when_it_is_full_and_owes_the_rest():
    bucket = TokenBucket(10, 100, now_s=0.0)
    assert bucket.spend(0.0, 150) == 0
    assert bucket.spend(5.0, 1) == 0.1
    assert bucket.spend(15.0, 100) == 0
    assert bucket.spend(15.0, 50) == 5.0


def account(clock=lambda: 0.0, **settings) -> Account:
    return Account(Settings(**settings), "", clock)


def refusal(account: Account, size_bytes: int) -> str:
    problem = account.charge(size_bytes, is_connect=False)
    assert problem is not None
    error = problem()
    assert (error.code, error.retry) == ("rate_limited", True)
    assert error.retry_after_s > 0
    return str(error)


def test_an_account_counts_events_and_bytes():
    now_s = 0.0
    one = account(lambda: now_s, rate_limit_per_s=1, rate_limit_burst_count=5)
    assert [one.charge(65_536, is_connect=False) for _ in range(4)] == [None] * 4
    assert "65536 bytes per second" in refusal(one, 1)
    assert "1 events per second" in refusal(one, 1)
    now_s = 1.0
    assert one.charge(65_536, is_connect=False) is None
    assert "events" in refusal(one, 1)


def test_the_first_connect_is_free_and_the_next_one_counts():
    one = account(rate_limit_per_s=1, rate_limit_burst_count=1)
    assert one.charge(1, is_connect=True) is None
    assert one.charge(1, is_connect=True) is None
    assert one.charge(1, is_connect=True) is not None


def test_without_a_rate_limit_nothing_is_counted():
    one = account(rate_limit_per_s=0)
    assert {one.charge(10_000_000, is_connect=False) for _ in range(1000)} == {None}


def test_what_has_a_rate_of_its_own_costs_its_bytes_and_no_event():
    one = account(rate_limit_per_s=1, rate_limit_burst_count=1, rate_limit_burst_bytes=1000, rate_limit_bytes_per_s=1)
    assert [one.charge(100, is_connect=False, has_own_rate=True) for _ in range(9)] == [None] * 9
    assert one.charge(100, is_connect=False) is None
    problem = one.charge(100, is_connect=False, has_own_rate=True)
    assert problem is not None
    assert "1 bytes per second" in str(problem())
