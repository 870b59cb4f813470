"""``hazoom-ws tail ROOM``: what is said in a room, in a terminal, as it is said.

Each message once, also over drops and restarts of the server: after each of them what came meanwhile is asked for by the
``seq`` of the last one shown, before anything live is.
"""

import argparse
import json
import random
import time
from collections.abc import Iterable
from typing import Any

from hazoom_ws.commands import CommandFailed
from hazoom_ws.commands.link import CREDENTIALS_HELP, Link, LinkLost, Refused, add_client_options, auth_of, url_of
from hazoom_ws.commands.terminal import note, shown, write
from hazoom_ws.names import escaped

SUMMARY = "follow a room in the terminal"
DESCRIPTION = f"""\
Shows the last messages of a room, and then each one as it is said, the AI's answers when they are whole. It comes
back by itself when the connection is lost, and shows no message twice. Ctrl-C ends it.

  hazoom-ws tail general
  hazoom-ws tail team --lines 100 --json | jq -r .message

What would drive a terminal in a name or a message is shown as an escape, such as \\x1b.

{CREDENTIALS_HELP}

exit status:
  0  ended by Ctrl-C
  1  no server at the URL, or it has refused; the reason is on stderr
  2  the command line cannot be understood"""

_LINES_LIMIT_COUNT = 500  # what the server tells at once
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0  # between two attempts to come back
_LONGEST_WAIT_S = 5.0
_KINDS = {"prompt": " asks the AI", "assistant": " (AI)"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the room, and how it is shown."""
    parser.add_argument("room", metavar="ROOM", help="the room's name")
    parser.add_argument(
        "--lines", type=_count, default=20, metavar="N", help="earlier messages to show, 0 to 500 (default 20)"
    )
    parser.add_argument("--json", action="store_true", help="print each message as one line of JSON")
    add_client_options(parser)


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _LINES_LIMIT_COUNT:
        raise argparse.ArgumentTypeError(f"0 to {_LINES_LIMIT_COUNT}, and not {number}")
    return number


def run(options: argparse.Namespace) -> int:
    """Follow the room until Ctrl-C, which is status 0."""
    try:
        _Follower(options).run()
    except KeyboardInterrupt:
        return 0
    return 0


class _Follower:
    """Follows a room over as many connections as it takes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._url = url_of(options)
        self._guest: dict[str, str] = {}
        self._room: str = options.room
        self._lines: int = options.lines
        self._is_json: bool = options.json
        self._last_seq: int | None = None

    def run(self) -> None:
        """Raise `CommandFailed` if it cannot go on."""
        attempts = 0
        while True:
            link = None
            try:
                link = Link(self._url, auth_of(self._options) | self._guest)  # a file may have another token by now
                self._join(link)
                if attempts:
                    note("back")
                attempts = 0
                self._follow(link)
                note("the connection was lost; coming back")
            except (LinkLost, Refused) as error:
                if self._last_seq is None or (isinstance(error, Refused) and not error.retry):
                    raise
                if not attempts:
                    note(f"{error}; trying again")
            finally:
                if link is not None:
                    link.close()
            attempts += 1
            pause_s = min(_PAUSE_S * 2 ** min(attempts, 10), _LONGEST_PAUSE_S)
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once

    def _join(self, link: Link) -> None:
        """Enter the room, and show what is new."""
        is_first = self._last_seq is None
        history = max(1, self._lines) if is_first else 0
        joined = _patient(link, "join_room", {"room": self._room, "history": history})
        self._room = joined["room"]
        if is_first:
            messages = joined["messages"]
            self._last_seq = 0
            if self._lines:
                self._show(messages)
            elif messages:
                self._last_seq = messages[-1]["seq"]
            return
        while True:
            page = _patient(link, "get_history", {"room": self._room, "after": self._last_seq, "limit": _LINES_LIMIT_COUNT})
            self._show(page["messages"])
            if page["complete"] or not page["messages"]:
                return

    def _follow(self, link: Link) -> None:
        for event, payload in link.events():
            if not isinstance(payload, dict):
                continue
            if event == "status" and "guest_key" in payload:
                self._guest["guest_key"] = payload["guest_key"]  # the same one over drops
            elif event == "new_message" and payload.get("room") == self._room:
                self._show([payload])
            elif event == "room_left" and payload.get("room") == self._room:
                raise CommandFailed("this room may not be read any more")
            elif event == "bye" and payload.get("reconnect") is False:
                raise CommandFailed(f"the server has ended this: {escaped(str(payload.get('reason')))}")
            elif event == "error" and payload.get("code") == "unauthorized":
                note(str(payload.get("message")))

    def _show(self, messages: Iterable[dict[str, Any]]) -> None:
        for message in messages:
            if self._last_seq is not None and message["seq"] > self._last_seq:
                self._last_seq = message["seq"]
                write(f"{json.dumps(message) if self._is_json else lines_of(message)}\n")


def _patient(link: Link, event: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Call, and wait where that is too much at once."""
    while True:
        try:
            return link.call(event, payload)
        except Refused as error:
            if error.code != "rate_limited" or error.retry_at is None:
                raise
            time.sleep(min(max(0.0, error.retry_at - time.time()), _LONGEST_WAIT_S))


def lines_of(message: dict[str, Any]) -> str:
    """Return a message as lines of which only the first begins at the left: no message looks like two."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(message["timestamp"]))
    kind = _KINDS.get(message.get("kind", ""), "")
    reason = message.get("finish_reason", "stop")
    ending = "" if reason == "stop" else f" [{escaped(str(message.get('code', reason)))}]"
    text = shown(message["message"]).replace("\n", "\n    ")
    return f"{moment} {escaped(message['user'])}{kind}: {text}{ending}"
