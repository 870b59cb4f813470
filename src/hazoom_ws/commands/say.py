"""``hazoom-ws say ROOM TEXT``: says something in a room, or asks the AI there and shows the answer as it comes."""

import argparse
import getpass
import sys
import uuid
from contextlib import closing
from typing import Any, get_args
from urllib.parse import quote

import requests

from hazoom_ws.access.redaction import without_secrets
from hazoom_ws.commands import CommandFailed
from hazoom_ws.commands.asking import reason_of, session_for
from hazoom_ws.commands.link import (
    ANSWER_LIMIT_S,
    CREDENTIALS_HELP,
    Link,
    LinkLost,
    Refused,
    add_client_options,
    api_key_of,
    auth_of,
    url_of,
)
from hazoom_ws.commands.terminal import shown, write
from hazoom_ws.events.llm import IntelligenceLevel
from hazoom_ws.settings import SettingsError

SUMMARY = "say something in a room, or ask the AI there"
DESCRIPTION = f"""\
Says something in a room; it has been kept when the command ends with status 0. With --ask the text is a question to
the AI, which the room sees, and the answer is printed as it comes.

  hazoom-ws say general "Deployed 1.4.2"
  git log -1 | hazoom-ws say team -
  hazoom-ws say general --ask nano "Why is the sky blue?"

With an API key it is said as backends do, over HTTP; else like any client, which joins the room for that.

{CREDENTIALS_HELP}

exit status:
  0  said, or answered
  1  no server at the URL, or it has refused, or the answer has failed; the reason is on stderr
  2  the command line cannot be understood"""

_ATTEMPTS_COUNT = 2  # the server knows the second as the same one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the room, the text, and whom it is for."""
    parser.add_argument("room", metavar="ROOM", help="the room's name")
    parser.add_argument("text", metavar="TEXT", nargs="+", help="what is said; - means standard input")
    levels = get_args(IntelligenceLevel)
    parser.add_argument("--ask", choices=levels, metavar="LEVEL", help=f"ask the AI: {', '.join(levels)}")
    add_client_options(parser)


def run(options: argparse.Namespace) -> int:
    """Say it; return 0."""
    text = _text_of(options)
    options.name = options.name or _login_name()
    if options.ask:
        _ask(options, text)
        return 0
    payload = {"room": options.room, "message": text, "client_id": f"say-{uuid.uuid4().hex}"}
    for attempt in range(1, _ATTEMPTS_COUNT + 1):
        try:
            if api_key_of(options):
                _post(options, payload)
            else:
                _send(options, payload)
            break
        except LinkLost:
            if attempt == _ATTEMPTS_COUNT:
                raise
    return 0


def _text_of(options: argparse.Namespace) -> str:
    """Return what is to be said. Raises `SettingsError` where that is no text."""
    try:
        text = sys.stdin.read().rstrip("\n") if options.text == ["-"] else " ".join(options.text)
        text.encode()
        options.room.encode()
    except UnicodeError:
        raise SettingsError("what is to be said is no UTF-8") from None
    return text


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in containers
        return "hazoom-ws say"


def _post(options: argparse.Namespace, payload: dict[str, Any]) -> None:
    url = url_of(options)
    body = {"message": payload["message"], "user_name": options.name, "client_id": payload["client_id"]}
    with session_for(url) as session:
        try:
            response = session.post(
                f"{url}/api/v1/rooms/{quote(payload['room'], safe='')}/messages",
                json=body,
                headers={"X-API-Key": api_key_of(options)},
                timeout=ANSWER_LIMIT_S,
                allow_redirects=False,
            )
        except (requests.RequestException, ValueError) as error:
            raise LinkLost(f"no server can be reached at {without_secrets(url)}: {reason_of(error)}") from None
    try:
        answer = response.json()
        is_ok, refusal = answer["ok"], answer.get("error")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CommandFailed(f"HTTP {response.status_code} at {without_secrets(url)}, and not from hazoom_ws") from None
    if not is_ok:
        raise Refused(refusal)


def _send(options: argparse.Namespace, payload: dict[str, Any]) -> None:
    with closing(Link(url_of(options), auth_of(options))) as link:
        link.call("join_room", {"room": payload["room"], "history": 0})
        link.call("message", payload)


def _ask(options: argparse.Namespace, text: str) -> None:
    """Print the answer as it comes. Raises `CommandFailed` where there is none."""
    request_id = f"say-{uuid.uuid4().hex}"
    question = {"message": text, "room": options.room, "intelligence_level": options.ask, "request_id": request_id}
    with closing(Link(url_of(options), auth_of(options))) as link:
        link.call("join_room", {"room": options.room, "history": 0})
        try:
            link.call("llm_request", question)
            _print_answer(link, request_id)
        except KeyboardInterrupt:
            link.call("llm_cancel", {"request_id": request_id})
            raise


def _print_answer(link: Link, request_id: str) -> None:
    has_begun = False
    for event, payload in link.events():
        if not isinstance(payload, dict) or payload.get("request_id") != request_id:
            continue
        if event == "llm_token":
            has_begun = True
            write(shown(payload["token"]))
        elif event in ("llm_complete", "llm_error") and has_begun:
            write("\n")
        if event == "llm_error":
            raise Refused(payload)
        if event == "llm_complete":
            if payload["finish_reason"] != "stop":
                raise CommandFailed(f"the answer was stopped ({payload['finish_reason']})")
            return
    raise LinkLost("the connection was lost; the answer goes on in the room: hazoom-ws tail shows it")
