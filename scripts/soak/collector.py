"""Run a module without Python's garbage collector, and on SIGUSR1 say what it would have found.

``python collector.py REPORT MODULE [arguments]`` runs ``python -m MODULE``. The first SIGUSR1 sets aside what there is (a
collection, then ``gc.freeze``); each further one collects and writes a line of JSON to the file REPORT:

- ``unreachable``: how many objects only the collector can free, since the one before: what reference cycles leave behind;
- ``types``: the 15 most common types of these;
- ``cycles``: how some of them refer to each other, as lists of descriptions that end where they begin, and how often each
  was found; an exception tells where it was raised, a frame where it stands;
- ``live``: objects that are in use, of the types of hazoom_ws and greenlets.

The signal is awaited by a thread of the system's, so the module's own handling of signals does not hear of it.
"""

import _thread
import gc
import json
import runpy
import signal
import sys
import traceback
import types
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOST = 15
_LIVE = ("hazoom_ws.", "greenlet.", "eventlet.")
_SEARCH_LIMIT = 3000
_SEARCHES = 12  # for each type


def main() -> None:
    report, module = Path(sys.argv[1]), sys.argv[2]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    _thread.start_new_thread(_serve, (report,))  # before anybody patches threads
    gc.disable()
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _serve(report: Path) -> None:
    signal.sigwait({signal.SIGUSR1})
    gc.collect()
    gc.freeze()
    report.write_text("")
    while True:
        signal.sigwait({signal.SIGUSR1})
        found = json.dumps(_collect())
        with report.open("a", encoding="utf-8") as file:
            file.write(f"{found}\n")


def _collect() -> dict[str, Any]:
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    garbage = gc.garbage[:]
    gc.garbage.clear()
    gc.set_debug(0)
    found = {
        "unreachable": len(garbage),
        "types": dict(Counter(map(_type_name, garbage)).most_common(_MOST)),
        "cycles": _cycles(garbage),
    }
    del garbage
    gc.collect()
    live = Counter(map(_type_name, gc.get_objects()))
    found["live"] = {name: count for name, count in live.most_common() if name.startswith(_LIVE)}
    return found


def _cycles(garbage: list[Any]) -> list[tuple[int, list[str]]]:
    by_id = {id(thing): thing for thing in garbage}
    found: Counter[tuple[str, ...]] = Counter()
    of_type: defaultdict[type, list[Any]] = defaultdict(list)
    for thing in garbage:
        of_type[type(thing)].append(thing)
    # Some of each type: what is rare may be the only one of its cycle.
    for start in [start for things in of_type.values() for start in things[:: max(1, len(things) // _SEARCHES)]]:
        cycle = _shortest_cycle(start, by_id)
        if cycle is not None:
            texts = [_describe(thing) for thing in cycle]
            first = texts.index(min(texts))  # the same cycle, wherever it was entered
            found[tuple(texts[first:] + texts[:first])] += 1
    return [(count, list(cycle)) for cycle, count in found.most_common(_MOST)]


def _shortest_cycle(start: Any, by_id: dict[int, Any]) -> list[Any] | None:
    """Return a way from ``start`` back to it, None if it is only reached from a cycle."""
    came_from: dict[int, int] = {}
    reached = [start]
    while reached and len(came_from) < _SEARCH_LIMIT:
        following = []
        for thing in reached:
            for other in gc.get_referents(thing):
                if other is start:
                    way, at = [thing], id(thing)
                    while at != id(start):
                        at = came_from[at]
                        way.append(by_id[at])
                    return way[::-1]
                if id(other) in by_id and id(other) not in came_from:
                    came_from[id(other)] = id(thing)
                    following.append(other)
        reached = following
    return None


def _type_name(thing: Any) -> str:
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _describe(thing: Any) -> str:
    """Return what a thing is, and which line made it if it knows."""
    for kind, describe in _DESCRIPTIONS.items():
        if isinstance(thing, kind):
            return describe(thing)
    return _type_name(thing)


def _exception(error: BaseException) -> str:
    steps = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(step.filename).name}:{step.lineno}" for step in reversed(steps))
    return f"{_type_name(error)} raised at {where or 'nowhere'}"


def _frame(frame: types.FrameType) -> str:
    return f"frame of {frame.f_code.co_name} at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _function(function: types.FunctionType) -> str:
    code = function.__code__
    return f"function {function.__qualname__} of {Path(code.co_filename).name}:{code.co_firstlineno}"


_DESCRIPTIONS: dict[type, Callable[[Any], str]] = {
    BaseException: _exception,
    types.FrameType: _frame,
    types.TracebackType: lambda step: f"traceback at {Path(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno}",
    types.FunctionType: _function,
    types.MethodType: lambda method: f"method {method.__func__.__qualname__}",
    type: lambda kind: f"class {kind.__module__}.{kind.__qualname__}",
    dict: lambda names: f"dict of {', '.join(map(str, list(names)[:6]))[:100]}",
}


if __name__ == "__main__":
    main()
