"""A small HTTP proxy for the tests: absolute URIs, and CONNECT. It notes what it was asked for, and who has gone."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_CHUNK_BYTES = 65536


class HttpProxy:
    """Forwards each connection to where its first request wants to go; made by `http_proxy`."""

    def __init__(self, listener: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.asked: list[str] = []  # the request lines
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            request = b""
            while b"\r\n\r\n" not in request:
                received = client.recv(_CHUNK_BYTES)
                if not received:
                    return
                request += received
            line, _, rest = request.partition(b"\r\n")
            self.asked.append(line.decode())
            method, target, version = line.decode().split()
            address = urlsplit(f"//{target}" if method == "CONNECT" else target)
            # Names that only this proxy knows are this machine.
            with socket.create_connection(("127.0.0.1", address.port or 80)) as server:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                else:
                    server.sendall(f"{method} {address.path} {version}\r\n".encode() + rest)
                threading.Thread(target=_forward, args=(server, client), daemon=True).start()
                _forward(client, server)


def _forward(source: socket.socket, sink: socket.socket) -> None:
    """Copy until either end is gone, and then end both."""
    with suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def http_proxy() -> Iterator[HttpProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield HttpProxy(listener)
        listener.shutdown(socket.SHUT_RDWR)
