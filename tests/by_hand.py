"""A worker and a log that do the next thing when a test says so, and fail as it says."""

from collections import deque
from collections.abc import Callable
from typing import Any


class ByHand:
    """A worker whose threads do the next thing, and whose time passes, when the test says so."""

    def __init__(self) -> None:
        self.called_soon: deque[Callable] = deque()
        self.called_later: deque[Callable] = deque()
        self.submitted: deque[tuple] = deque()

    def soon(self, callback: Callable) -> None:
        self.called_soon.append(callback)

    def later(self, _delay_s: float, callback: Callable) -> None:
        self.called_later.append(callback)

    def submit(self, done: Callable, function: Callable, *args: object) -> None:
        self.submitted.append((done, function, args))

    def run(self, function: Callable, *args: object) -> None:
        function(*args)

    def call_back(self) -> None:
        while self.called_soon:
            self.called_soon.popleft()()

    def pass_time(self) -> None:
        """Call back what was to be called later by now."""
        self.called_soon += self.called_later
        self.called_later.clear()
        self.call_back()

    def do(self) -> str:
        """Do the first thing that was submitted, and return its name."""
        done, function, args = self.submitted.popleft()
        error = None
        try:
            function(*args)
        except Exception as raised:
            error = raised
        done(error)
        self.call_back()
        return function.__name__


class BreaksOnce:
    """Raises once when it is called, then calls what is behind it."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self.__name__ = function.__name__
        self.has_broken = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.has_broken:
            return self._function(*args, **options)
        self.has_broken = True
        raise MemoryError
