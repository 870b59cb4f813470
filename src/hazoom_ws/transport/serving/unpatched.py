"""Imports a library whose sockets are to wait in threads of the operating system, as if eventlet had patched nothing.

eventlet replaces the standard library's sockets, locks and clocks by its own, which let other greenlets run while they
wait. In a thread of a `Worker` there are no other greenlets, and each wait would go through a hub made for that thread. So
a library that only such threads call is imported with the modules as they were. Call this once for a library, before
anybody else imports it; where nothing is patched it is an ordinary import.
"""

import importlib
import sys
from typing import Any

from eventlet import patcher

_REPLACED = ("socket", "ssl", "select", "selectors", "threading", "queue", "time")
_NEEDED = ("asyncio", "concurrent.futures", "http.client", "urllib.request")  # for others these stay as they are


def import_unpatched(name: str) -> Any:
    """Return the module ``name``, which is imported with plain sockets and locks."""
    if name in sys.modules or not patcher.is_monkey_patched("socket"):
        return importlib.import_module(name)
    for needed in _NEEDED:
        importlib.import_module(needed)
    patched = {module: sys.modules.get(module) for module in _REPLACED}
    try:
        for module in _REPLACED:
            if module == "ssl":
                # Its sockets inherit from those of ``socket``, which is the plain one by now.
                sys.modules.pop(module, None)
                importlib.import_module(module)
            else:
                sys.modules[module] = patcher.original(module)
        return importlib.import_module(name)
    finally:
        for module, there in patched.items():
            if there is None:
                sys.modules.pop(module, None)
            else:
                sys.modules[module] = there
