"""The process that attacks: ``python -m hostile.attacker NAME PORT SECONDS DESCRIPTOR``.

``DESCRIPTOR`` is a listening socket that is inherited, where the server looks for its AI backend. Prints what it has
counted, as JSON. Runs at a lower priority than the calm client, which must not wait for this process.
"""

import json
import os
import resource
import socket
import sys
import threading
from contextlib import suppress

from hostile.attack import Context
from hostile.catalogue import ATTACKS
from hostile.wire import Closed, TimeIsUp


def main() -> None:
    name, port, seconds, descriptor = sys.argv[1:]
    os.nice(5)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    backend = socket.socket(fileno=int(descriptor))
    context = Context(int(port), float(seconds), backend)
    deadline = threading.Timer(float(seconds) + 20, os._exit, (1,))
    deadline.daemon = True
    deadline.start()
    with suppress(TimeIsUp):
        try:
            ATTACKS[name].run(context)
        except Closed as why:
            context.counts[f"closed: {why}"] += 1
    print(json.dumps({"counts": dict(context.counts), "broken": context.broken}), flush=True)
    os._exit(0)  # whatever threads are in the middle of


if __name__ == "__main__":
    main()
