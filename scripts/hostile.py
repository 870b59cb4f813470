"""Attack a server and say what it does to others: ``python scripts/hostile.py [ATTACK ...] [options]``.

Linux only. Up to number 21 every attack was done to 0.4.3, or is akin to one (a plus at its number); the others are floods
from one address and from many. Each gets a fresh server, started as a user starts it (``python -m hazoom_ws``, its settings
as they come but for what the attack needs, port 0, a message file of its own), and lasts ``--seconds``. Three processes:

- the server;
- the attacker, from 127.0.0.2, at a lower priority. Where the server refuses or closes, it goes on with a new connection;
- the observer with the calm client, from 127.0.0.1, which asks ``get_stats`` every 21 ms, each with an acknowledgement.

A row says, from the attack's begin to 3 s after its end:

- calm p99 and longest: ms between the calm client's question and its answer. ``>15 s``: it gave up, 10 s after the attack
  should have ended, and the server was killed;
- conn: whether the calm client stayed connected; /health: whether it answered within 1 s on a new connection, four times a
  second;
- MB: resident memory before, at most, and 3 s after the end; descriptors: open files at the same moments;
- log: bytes on stderr; file: bytes written to the message file and its journals;
- starved: seconds that the server was ready to run while other processes had the cores. A wait beside much of it says
  little: attack again when the machine is quiet;
- broken: the promises that did not hold. They are: the longest wait is under 50 ms, the calm client is neither closed nor
  refused, /health answers, memory is back within 20 MB (and never grows by more than 300 MB: "peak"), descriptors are back
  within 5; and what single attacks look after (readers that are closed, places of the AI, limits, HTTP that is accepted).

The machine's own noise is the row ``none``. ``late_s`` in the JSON is how late the calm client itself woke up at worst: a
wait that is hardly longer says little about the server. The exit status is 1 if a promise was broken. Only loopback
addresses are attacked; the numbers of connections and bytes are bounded.
"""

import sys

import environment


def main() -> int:
    if not sys.platform.startswith("linux"):
        print("hostile: this runs on Linux only: it needs /proc and all of 127.0.0.0/8", file=sys.stderr)
        return 2
    environment.go_on_in_venv()
    from hostile import command  # its imports exist there only

    return command.main(str(__doc__))


if __name__ == "__main__":
    sys.exit(main())
