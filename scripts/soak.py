"""Let official clients chat for minutes, and say whether the server grows: ``python scripts/soak.py [options]``.

Linux only. The server is started as a user starts it (``--demo``, a message file of its own, the windows of recovery and of
answers shortened so that the end does not take minutes). 60 clients of socket.io-client, in a Node process, some polling,
some on WebSockets, some changing over, chat in four rooms (messages of 400 bytes, each with a client_id), type, read
history, ask the AI alone and in their rooms, stop answers, drop in the middle of them and come back recovered, leave,
vanish, and are replaced by others. Resident memory is sampled once a second. At the end, with everybody gone and the
windows over:

- memory: means of the second quarter and of the last, and their difference (the goal: under 3 MB);
- what was handled: messages, answers, drops;
- what is left: connections, users, rooms (``/health``, ``/api/v1/status``), answers, descriptors.

The exit status is 1 if something is left or memory has grown.

``--gc`` asks another question: what does our code leave for the garbage collector? The server runs without one
(soak/collector.py), each action runs by itself for some seconds, and after each the objects are counted that only a
collector could free, with their types and the cycles that keep them. Without a goal of its own; the status is 1 if there
are any.
"""

import sys

import environment


def main() -> int:
    if not sys.platform.startswith("linux"):
        print("soak: this runs on Linux only: it needs /proc", file=sys.stderr)
        return 2
    environment.go_on_in_venv()
    environment.install_npm_packages()
    from soak import command  # its imports exist there only

    return command.main(str(__doc__))


if __name__ == "__main__":
    sys.exit(main())
