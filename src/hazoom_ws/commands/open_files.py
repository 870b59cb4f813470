"""How many files a server may open: each connection is one."""

import logging
import os
from contextlib import suppress

logger = logging.getLogger(__name__)

FILES_WANTED = 65_536
FILES_NEEDED = 10_240


def raise_limit() -> None:
    """Let this process open as many files as it may, up to what it can use; say so if that is few."""
    most = raised_limit()
    if most is not None and most < FILES_NEEDED:
        logger.warning(
            "this process may open %d files, one for each connection: it serves no more; raise the hard limit (ulimit -Hn)",
            most,
        )


def raised_limit() -> int | None:
    """Raise the limit, up to what a server can use, and return how many files this process may open: None for no limit."""
    try:
        import resource  # Windows has neither the module nor the limit
    except ImportError:
        return None
    for wanted in (FILES_WANTED, FILES_NEEDED):  # macOS refuses more than its kernel allows, whatever the hard limit says
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        if soft != resource.RLIM_INFINITY and soft < most:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def grow_table(open_file: int) -> None:
    """Have the system make room for all files that this process may open.

    Linux does it when they are needed, at each doubling, and with threads that keeps whoever opens one waiting for up to
    26 ms: the loop, and everybody in it.
    """
    try:
        import fcntl
        import resource
    except ImportError:
        return  # Windows has no such table
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = (FILES_WANTED if soft == resource.RLIM_INFINITY else min(soft, FILES_WANTED)) - 1
    with suppress(OSError):
        os.close(fcntl.fcntl(open_file, fcntl.F_DUPFD_CLOEXEC, last))
