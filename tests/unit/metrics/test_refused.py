"""Codes of an application are counted too, and cannot become as many as it likes."""

from hazoom_ws.errors import CODES
from hazoom_ws.metrics.refused import OTHER_CODES, Refused


def test_all_codes_of_ours_are_there_from_the_start() -> None:
    refused = Refused()
    assert refused.by_code == dict.fromkeys(CODES, 0)
    refused.note("rate_limited")
    refused.note("poll_is_closed")
    assert {code: count for code, count in refused.by_code.items() if count} == {"rate_limited": 1, "poll_is_closed": 1}


def test_codes_that_are_made_up_without_end_share_a_label() -> None:
    refused = Refused()
    for number in range(10_000):
        refused.note(f"code_{number}")
    refused.note("internal")
    assert len(refused.by_code) == len(CODES) + 51
    assert refused.by_code["code_0"] == refused.by_code["internal"] == 1
    assert refused.by_code[OTHER_CODES] == 9950
