"""A client of the application's own engine, without sockets: for what Flask-SocketIO's test client cannot send."""

import json
from typing import Any

from flask import Flask

from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.websocket import frames


class Visitor:
    """A session that polls. ``environ`` is what its request says, in the keys of WSGI."""

    def __init__(self, app: Flask, **environ: str) -> None:
        self.engine: Engine = app.extensions["socketio"].server.eio
        self.session = self.engine.open({"REMOTE_ADDR": "127.0.0.1"} | environ)
        self.session.start_polling()
        self.engine.send_open_packet(self.session)

    def send(self, *packets: str | bytes) -> None:
        """Send Socket.IO packets, with the type of Engine.IO before them, and binary parts."""
        for packet in packets:
            self.engine.receive(self.session, packet)

    def connect(self, namespace: str = "", **auth: Any) -> dict[str, Any]:
        """Connect to a namespace, such as "/rooms,"; return what the server answers, with what else came as ``packets``."""
        self.send(f"40{namespace}{json.dumps(auth) if auth else ''}")
        packets = self.said()
        (answer,) = [text for text in packets if text.startswith((f"40{namespace}{{", f"44{namespace}{{"))]
        return json.loads(answer[answer.index("{") :]) | {"packets": packets}

    def said(self) -> list[str]:
        """Return the packets that have come since the last call."""
        return [packet for packet in self.said_with_parts() if isinstance(packet, str)]

    def said_with_parts(self) -> list[str | bytes]:
        """Return the same, with the binary parts behind their packets."""
        return [message.data for framed in self.session.outbox.pop_all() for message in frames.opened_all(framed)]

    def events(self, name: str) -> list[Any]:
        """Return the payloads of an event among the packets that have come since the last call, on any namespace."""
        payloads = []
        for text in self.said():
            if text.startswith("42"):
                event, payload, *_ = json.loads(text[text.index("[") :])
                payloads += [payload] if event == name else []
        return payloads

    def call(self, event: str, payload: Any = None, namespace: str = "") -> dict[str, Any]:
        """Emit and return the acknowledgement."""
        self.send(f"42{namespace}1{json.dumps([event] if payload is None else [event, payload])}")
        (answer,) = [text for text in self.said() if text.startswith(f"43{namespace}1[")]
        return json.loads(answer.removeprefix(f"43{namespace}1"))[0]

    def close(self) -> None:
        self.engine.close(self.session, "test is over")
