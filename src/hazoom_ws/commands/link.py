"""A connection to a running server, for the commands that are clients of it: python-socketio's own client.

Its handlers run in the thread that reads, and do nothing but put what came into a queue; the command takes it from there in
the order in which it was sent, and is the only one that says anything. A link is opened once: who wants to come back opens
another one.
"""

import argparse
import os
import queue
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from socketio.exceptions import SocketIOError

from hazoom_ws.access.redaction import without_secrets
from hazoom_ws.commands import CommandFailed
from hazoom_ws.commands.asking import reason_of, session_for
from hazoom_ws.commands.listening import local_url
from hazoom_ws.commands.python_socketio_client_overrides import ClientInOrder
from hazoom_ws.names import escaped
from hazoom_ws.settings import SettingsError
from hazoom_ws.settings.sources import CLIENT_PREFIX, load_settings

ANSWER_LIMIT_S = 15.0
_LOOK_INTERVAL_S = 1.0
_WORDS_LIMIT_CHARS = 300
_WAITING_LIMIT_COUNT = 10_000  # of events, while a terminal takes no more
_OF_SYSTEM = re.compile(r"\[Errno -?[0-9]+\] ([A-Za-z ]+)")
_OF_STATUS = re.compile(r"(Unexpected status code [0-9]+)")

CREDENTIALS_HELP = f"""\
A server that asks who you are is shown a token or an API key, from a file or from the environment
({CLIENT_PREFIX}TOKEN, {CLIENT_PREFIX}API_KEY), and never from the command line, which others can see."""


class Refused(CommandFailed):
    """What the server has refused, in its words. ``code``: one of its codes; ``retry``: it may not be later."""

    def __init__(self, error: Any) -> None:
        error = error if isinstance(error, dict) else {"message": str(error)}
        super().__init__(escaped(str(error.get("message") or error.get("code") or "refused"))[:_WORDS_LIMIT_CHARS])
        data = error.get("data") if isinstance(error.get("data"), dict) else error
        self.code = str(data.get("code", ""))
        self.retry = bool(data.get("retry", False))
        self.retry_at = data.get("retry_at")


class LinkLost(CommandFailed):
    """A connection that ended, or could not be made."""


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which server is meant, and who one is there."""
    parser.add_argument("--url", help="the server (default: the one that runs here with these settings)")
    parser.add_argument("--name", help="your name, where the server takes your word for it")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with a token")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="file with an API key in its first line")


def url_of(options: argparse.Namespace) -> str:
    """Return the server's URL without a slash at its end. Raises `SettingsError`."""
    if options.url is None:
        return local_url(load_settings())
    parts = urlsplit(options.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("--url starts with http:// or https:// and names a host")
    return str(options.url).rstrip("/")


def api_key_of(options: argparse.Namespace) -> str:
    """Return the API key that is to be shown, "" for none. Raises `SettingsError`."""
    return _secret("api_key", options.api_key_file)


def auth_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is said in CONNECT. Raises `SettingsError`."""
    found = {"user_name": options.name, "token": _secret("token", options.token_file), "api_key": api_key_of(options)}
    return {"recover": False} | {name: value for name, value in found.items() if value}


def _secret(name: str, path: Path | None) -> str:
    if path is None:
        return os.environ.get(f"{CLIENT_PREFIX}{name.upper()}", "").strip()
    option = f"--{name.replace('_', '-')}-file"
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{option} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    secret = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    if not secret:
        raise SettingsError(f"{option} is empty")
    return secret


def _why(error: BaseException) -> str:
    """Return why there is no connection; python-engineio keeps of the system's error nothing but its text, with the URL."""
    said = str(error)
    found = _OF_SYSTEM.search(said) or _OF_STATUS.search(said)
    return found[1] if found else reason_of(error)


class Link:
    """One connection. Use it in one thread."""

    def __init__(self, url: str, auth: dict[str, Any]) -> None:
        """Connect. Raises `Refused` where the server says no, `LinkLost` where there is none."""
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue(_WAITING_LIMIT_COUNT)
        self._is_closed = False
        self._lost = threading.Event()
        self._refusal: Any = None
        client = ClientInOrder(reconnection=False, handle_sigint=False, http_session=session_for(url))
        client.on("*", lambda event, *arguments: self._put(event, arguments[0] if arguments else None))
        client.on("connect_error", self._on_refusal)
        client.on("disconnect", self._on_end)
        self._client = client
        try:
            client.connect(url, auth=auth, wait_timeout=ANSWER_LIMIT_S)
        except (SocketIOError, requests.RequestException, OSError, ValueError) as error:
            # It has the body of an HTTP answer too, of a server that stops or is too busy: who comes back later gets in.
            if isinstance(self._refusal, dict) and "code" in (self._refusal.get("data") or {}):
                raise Refused(self._refusal) from None
            raise LinkLost(f"no server can be reached at {without_secrets(url)}: {_why(error)}") from None

    def call(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send an event and return its acknowledgement. Raises `Refused`, `LinkLost`."""
        answered = threading.Event()
        answers: list[Any] = []

        def on_answer(*arguments: Any) -> None:
            answers.extend(arguments)
            answered.set()

        try:
            self._client.emit(event, payload, callback=on_answer)
        except (SocketIOError, OSError) as error:
            raise LinkLost("the connection was lost") from error
        waited_s = 0.0
        while not answered.wait(0.1):
            waited_s += 0.1
            if self._lost.is_set() or waited_s > ANSWER_LIMIT_S:
                raise LinkLost("the connection was lost before the server has answered")
        if not answers or not isinstance(answers[0], dict):
            raise LinkLost("the server's answer cannot be understood: is it hazoom_ws?")
        if not answers[0].get("ok"):
            raise Refused(answers[0].get("error"))
        return answers[0]

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield what comes, as (event, payload), until the connection ends."""
        while True:
            try:
                # Without a time-out Windows lets nobody interrupt it.
                event, payload = self._events.get(timeout=_LOOK_INTERVAL_S)
            except queue.Empty:
                continue
            if event == "":
                return
            yield event, payload

    def close(self) -> None:
        """End it."""
        self._is_closed = True
        self._client.disconnect()

    def _put(self, event: str, payload: Any) -> None:
        """Pass on what came, or wait with it, and read no more meanwhile: then the server has us come back later."""
        while not self._is_closed:
            try:
                self._events.put((event, payload), timeout=_LOOK_INTERVAL_S)
            except queue.Full:
                continue
            return

    def _on_refusal(self, data: Any = None) -> None:
        self._refusal = data

    def _on_end(self, *_: Any) -> None:
        self._lost.set()
        self._put("", None)
