"""File modes that hold for root too: for tests of files that may not be written, whoever runs them.

Root may write what is read-only by capabilities of Linux, which a thread can lay down for a while, and a process for good.
Of other users nothing has to be laid down.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_OVERRIDES = 0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of each set. Source: capget(2)
_PR_CAPBSET_DROP = 24

_Sets = ctypes.c_uint32 * 6  # effective, permitted, inheritable; then their upper words
# Run before a command: whatever that runs has no such capability.
_LAY_DOWN = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in (1, 2, 3) if os.geteuid() == 0 else ():
    if libc.prctl({_PR_CAPBSET_DROP}, capability, 0, 0, 0) != 0:
        sys.exit("capabilities cannot be laid down: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""


def bound_by_modes(command: list[str]) -> list[str]:
    """Return a command line for the same in a process for which modes hold; it keeps its number."""
    return [sys.executable, "-c", _LAY_DOWN, *command]


@contextmanager
def modes_hold() -> Iterator[None]:
    """Let modes hold in the body, for this thread."""
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root may write everything here")
    sets = _capabilities("capget", _Sets())
    before = sets[0]
    sets[0] &= ~_OVERRIDES
    _capabilities("capset", sets)
    try:
        yield
    finally:
        sets[0] = before
        _capabilities("capset", sets)


def _capabilities(call: str, sets: "ctypes.Array[ctypes.c_uint32]") -> "ctypes.Array[ctypes.c_uint32]":
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)((ctypes.c_uint32 * 2)(_VERSION, 0), sets) != 0:
        raise OSError(ctypes.get_errno(), f"{call} failed")
    return sets
