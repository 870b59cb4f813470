"""What clients and backends were refused, by code. Called from wherever a refusal is made, in a turn or beside one."""

from collections import Counter

from hazoom_ws.errors import CODES

_CODES_LIMIT_COUNT = 50  # beside our own: a feature of an application may make up codes as it likes
OTHER_CODES = "other"


class Refused:
    """How often each code was the answer. ``by_code`` has all codes of ours, and no more others than can be shown."""

    def __init__(self) -> None:
        self.by_code: Counter[str] = Counter(dict.fromkeys(sorted(CODES), 0))

    def note(self, code: str) -> None:
        """Count a refusal."""
        if code not in self.by_code and len(self.by_code) >= len(CODES) + _CODES_LIMIT_COUNT:
            code = OTHER_CODES
        self.by_code[code] += 1
