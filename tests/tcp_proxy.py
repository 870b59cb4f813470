"""A TCP proxy that delays, stalls and cuts: a phone far away, in a pocket, and in a tunnel."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from raw_client import LARGE_BUFFER_BYTES, SMALL_BUFFER_BYTES

_CHUNK_BYTES = 65536


class TcpProxy:
    """Forwards each connection to a server; made by `tcp_proxy`. Of several ``server_ports`` each new one gets the next."""

    def __init__(self, *ports: int) -> None:
        self.server_port = ports[0]
        self.server_ports = ports
        self._count = 0
        self.delay_limit_s = 0.0  # each piece, in either direction, waits up to so long
        self._is_closing = threading.Event()
        self._flows = threading.Event()
        self._flows.set()
        self._is_down = False
        self._lock = threading.Lock()  # over who is connected and whether anybody may be
        self._sockets: list[socket.socket] = []
        self._stallable: list[socket.socket] = []
        self._pairs: list[
            tuple[socket.socket, socket.socket]
        ] = []  # both ends of each connection; some have ended by themselves
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def stall(self) -> None:
        """Read nothing more of what the server sends; what clients send still arrives."""
        self._flows.clear()

    def resume(self) -> None:
        """Forward again, first what was left lying."""
        for one in self._stallable:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE_BUFFER_BYTES)  # with a small one it would crawl
        self._flows.set()

    def cut(self, share: float = 1.0) -> None:
        """End that share of the connections, chosen at random."""
        with self._lock:
            for client, server in random.sample(self._pairs, round(len(self._pairs) * share)):
                self._pairs.remove((client, server))
                for one in (client, server):
                    with suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)

    def go_down(self) -> None:
        """End every connection, and each new one at once, until `come_up`."""
        with self._lock:
            self._is_down = True
        self.cut()

    def come_up(self) -> None:
        self._is_down = False

    def close(self) -> None:
        """Cut every connection and end every thread."""
        with self._lock:
            self._is_closing.set()  # who is accepted after that is refused
        self.resume()
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _start(self, run, *args) -> None:
        thread = threading.Thread(target=run, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket()
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
                try:
                    with self._lock:
                        self._sockets += [client, server]
                        if self._is_down or self._is_closing.is_set():
                            raise ConnectionRefusedError
                        self._count += 1
                        server.connect(("127.0.0.1", self.server_ports[self._count % len(self.server_ports)]))
                        self._pairs.append((client, server))
                except OSError:
                    client.close()
                    server.close()
                    continue
                self._stallable.append(server)
                self._start(self._forward, client, server, False)
                self._start(self._forward, server, client, True)

    def _forward(self, source: socket.socket, sink: socket.socket, can_stall: bool) -> None:
        with suppress(OSError):
            while True:
                if can_stall:
                    self._flows.wait()
                data = source.recv(_CHUNK_BYTES)
                if not data:
                    break
                if self.delay_limit_s:
                    self._is_closing.wait(random.uniform(0, self.delay_limit_s))
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def tcp_proxy(*ports: int) -> Iterator[TcpProxy]:
    """Run a proxy in front of a server on this machine, or of several."""
    proxy = TcpProxy(*ports)
    try:
        yield proxy
    finally:
        proxy.close()
