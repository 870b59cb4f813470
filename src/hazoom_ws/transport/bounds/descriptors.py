"""File descriptors, of which each connection is one: the last of them are a reserve for those who are in.

Without it strangers who connect and do nothing take them all, and then nothing can be opened for anybody: no file, no
connection to the AI backend, no connection of a user who comes back. Called from wherever connections are accepted.
"""

import errno
import logging
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from hazoom_ws.transport.bounds.refusals import Refusals

_RESERVE_COUNT = 16
_RESERVE_PART = 16  # at least that part of all
_CROWDED_S = 2.0
# Up to that many all are counted now and then; the reserve of more is large enough for what else is open.
_COUNTED_LIMIT = 4096
_IS_POSIX = os.name == "posix"
# What `select` can watch: descriptors below 1,024, or on Windows 512 sockets, each of which may be there twice, to be read
# and to be written.
_SELECT_LIMIT_COUNT = 1024 if _IS_POSIX else 256
SHORT_OF_FILES = "file descriptors run short"
CANNOT_ACCEPT = "cannot accept connections for a moment"


class Descriptors:
    """Decides who is admitted, and who goes for that: first who has not finished a request, then who joined nothing."""

    def __init__(self, clock: Callable[[], float], refusals: Refusals, end_one: Sequence[Callable[[], bool]]) -> None:
        """``end_one``: functions that end who is missed least, of one kind each, and return whether there was anybody."""
        self._clock = clock
        self._refusals = refusals
        self._end_one = end_one
        self.counts: list[Callable[[], int]] = []  # of connections that are open, from whoever has some
        self._reserved_from = math.inf
        self._room_count = math.inf  # for connections
        self._others_count = 0  # files, connections to the AI backend
        self._crowded_until_s = -math.inf
        self._limit_count = math.inf  # what the system allows may be more than the event hub can watch

    def watched_by_select(self) -> None:
        """Note that all are watched by `select`, which ends the process when they are too many."""
        self._limit_count = _SELECT_LIMIT_COUNT

    @property
    def are_short(self) -> bool:
        """Whether a connection should end once it has been served, instead of waiting for another request."""
        return self._clock() < self._crowded_until_s

    def admit(self, fd: int) -> bool:
        """Return whether a connection that was accepted as ``fd`` may stay.

        The system gives the lowest free number, so a high one says that there are few; a low one does not say the contrary,
        as it may be that of somebody who has just gone for another.
        """
        return (fd < self._reserved_from and self._connections() < self._room_count) or self.make_room()

    def make_room(self) -> bool:
        """End whoever is missed least; return False if there are only such as are in."""
        self._crowded_until_s = self._clock() + _CROWDED_S
        if any(end_one() for end_one in self._end_one):
            self._refusals.note(SHORT_OF_FILES, "who has not finished a request is cut off", logging.WARNING)
            return True
        self._refusals.note(SHORT_OF_FILES, "who is new is turned away", logging.WARNING)
        return False

    def accept_failed(self, error: OSError) -> None:
        """Note why nothing can be accepted; if there are no files left, make room."""
        self._refusals.note(CANNOT_ACCEPT, error.strerror or str(error), logging.WARNING)
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            self.make_room()

    def sweep(self, _now_s: float = 0.0) -> None:
        """Look at the limit again: it is raised after this is made, and can be changed from outside."""
        try:
            import resource  # Windows has neither the module nor the limit
        except ImportError:
            soft = math.inf
        else:
            files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            soft = math.inf if files == resource.RLIM_INFINITY else files
        limit = min(soft, self._limit_count)
        if limit < _COUNTED_LIMIT:
            with suppress(OSError):  # then they are as many as there were
                self._others_count = max(0, len(os.listdir("/dev/fd")) - self._connections())
        reserved_from = limit if limit == math.inf else limit - max(_RESERVE_COUNT, limit // _RESERVE_PART)
        self._reserved_from = reserved_from if _IS_POSIX else math.inf  # Windows numbers them as it likes
        self._room_count = reserved_from - self._others_count
        too_many = self._connections() - self._room_count  # what is no connection has become more, or the limit less
        while too_many > 0 and self.make_room():
            too_many -= 1

    def _connections(self) -> int:
        return sum(count() for count in self.counts)
