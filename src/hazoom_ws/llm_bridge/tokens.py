"""The texts of an answer's tokens, held as few long texts: most have a few letters, and as objects take ten times that.

Pure bookkeeping, not thread-safe: who shares one takes turns; its length may be asked from anywhere.
"""

from array import array
from bisect import bisect_left, bisect_right
from sys import getsizeof

_LOOSE_COUNT = 256  # tokens, before they become one text
_LONG_CHARS = 64  # a token from here on stays as it is: others may hold the same one, and it takes little beside its text
_LARGEST_SHORT = 2**32 - 1


class Tokens:
    """Texts in the order in which they came. `pack` them when no more come."""

    __slots__ = ("_ends", "_firsts", "_loose", "_texts")

    def __init__(self) -> None:
        self._ends = array("Q")  # in the text of all, of each token
        self._texts: list[str] = []
        self._firsts: list[int] = []  # of each text, the number of its first token
        self._loose: list[str] = []  # the last ones, in no text yet

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, token: str) -> None:
        """Add a token. None may be added after `pack`."""
        if len(token) >= _LONG_CHARS or len(self._loose) == _LOOSE_COUNT:
            self._join()
        self._loose.append(token)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(token))
        if len(token) >= _LONG_CHARS:
            self._join()

    def joined(self, first: int = 0, end: int | None = None) -> str:
        """Return the text of a range of tokens, to the last there is by default."""
        end = len(self._ends) if end is None else end
        if first >= end:
            return ""
        self._join()
        begin = bisect_right(self._firsts, first) - 1
        text = "".join(self._texts[begin : bisect_left(self._firsts, end)])
        before_chars = self._end_of(self._firsts[begin])
        return text[self._end_of(first) - before_chars : self._end_of(end) - before_chars]

    def split(self) -> list[str]:
        """Return all tokens, each by itself."""
        text = self.joined()
        return [text[self._end_of(index) : self._end_of(index + 1)] for index in range(len(self._ends))]

    def pack(self, same: str = "") -> str:
        """Hold all as one text, and return it: ``same``, if that says what they say and somebody holds it anyway."""
        text = self.joined()
        self._texts, self._firsts = [same if same == text else text], [0]
        self._ends = packed(self._ends)
        return self._texts[0]

    @property
    def size_bytes(self) -> int:
        """Return what they take when they are packed."""
        return getsizeof(self._ends) + sum(map(getsizeof, self._texts))

    def _end_of(self, count: int) -> int:
        """Return where the first ``count`` tokens end in the text of all."""
        return self._ends[count - 1] if count else 0

    def _join(self) -> None:
        """Make one text of the loose ones."""
        if self._loose:
            self._firsts.append(len(self._ends) - len(self._loose))
            self._texts.append("".join(self._loose))
            self._loose = []


def packed(growing: "array[int]") -> "array[int]":
    """Return numbers that only grow, and that no more are added to, in as little as they take."""
    return array("Q" if growing and growing[-1] > _LARGEST_SHORT else "I", growing)
