"""Imports a library whose sockets are to wait in threads of the operating system, as if eventlet had patched nothing.

eventlet replaces the standard library's sockets, locks and clocks by its own, which let other greenlets run while they
wait. In a thread of a `Worker` there are no other greenlets; each wait would go through a hub made for that thread, and a
lock that two threads want at once fails ("Cannot switch to a different thread"). So a library that only such threads call
is imported once more, with the modules as they were, whoever else has imported it by now: python-socketio imports Redis'
client wherever that is installed. Where nothing is patched it is an ordinary import.
"""

import importlib
import sys
from typing import Any

from eventlet import patcher

_REPLACED = ("socket", "ssl", "select", "selectors", "threading", "queue", "time")
_NEEDED = ("asyncio", "concurrent.futures", "http.client", "urllib.request")  # for others these stay as they are


def import_unpatched(name: str) -> Any:
    """Return a package of its own, with plain sockets and locks; nobody else gets it who imports ``name``.

    A module that eventlet replaces is returned as it was.
    """
    if not patcher.is_monkey_patched("socket"):
        return importlib.import_module(name)
    if name in _REPLACED:
        return patcher.original(name)
    for needed in _NEEDED:
        importlib.import_module(needed)

    def is_of_it(module: str) -> bool:
        return module == name or module.startswith(f"{name}.")

    others = {module: there for module, there in sys.modules.items() if is_of_it(module)}
    patched = {module: sys.modules[module] for module in _REPLACED if module in sys.modules}
    for module in (*others, *patched):
        del sys.modules[module]
    try:
        for module in _REPLACED:
            # The sockets of ``ssl`` inherit from those of ``socket``, which is the plain one by now.
            sys.modules[module] = importlib.import_module(module) if module == "ssl" else patcher.original(module)
        return importlib.import_module(name)
    finally:
        for module in [module for module in sys.modules if is_of_it(module) or module in _REPLACED]:
            del sys.modules[module]
        sys.modules.update(patched | others)
