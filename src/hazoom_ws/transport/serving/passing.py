"""Several processes on one port: how a request gets to the process that has its session, and how one asks the others.

The system chooses which process accepts a connection. For a WebSocket any will do, which then keeps the client. A client
that polls makes request after request, each of which may come to another process, over connections that it shares with
others where there is a proxy; and only one process has its session. So the id of a session begins with the number of its
process (`Engine.generate_id`), and a request that names another one's session is passed on: not its bytes, but the
connection itself, its file descriptor over a socket pair between the processes, with what was read of it. From then on the
other process serves that connection, and sees the client's own address. So nothing around the server has to know of this:
no proxy must keep a client with a process, and none has to be there.

Rejected: answering such requests with an error. The official client takes that for the end of its session, and one that
polls would begin anew for ever. Also rejected: a port for each process, and a proxy that chooses it by the id. That needs a
proxy, and costs more than a descriptor: passing one takes about as long as accepting a connection.

A process asks the others how they are (`Passing.ask_others`) in the same way: it passes them one end of a socket pair, on
which they write what they tell, and close it. It is told from a client's connection by its family, which no client can
choose: clients come by TCP.

Only `Passing.pass_on` and what is about asking wait, in greenlets of their own; all else runs in a turn of the loop. Only
processes that were started together have the other ends of these sockets.
"""

import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import eventlet
from eventlet import greenio, patcher

from hazoom_ws.transport.engineio.requests import process_of
from hazoom_ws.transport.http.heads import HEAD_LIMIT_BYTES
from hazoom_ws.transport.serving.endpoints import Watcher

logger = logging.getLogger(__name__)
_socket: Any = patcher.original("socket")
# A whole head, and what a file has read beyond it.
_BEGUN_LIMIT_BYTES = HEAD_LIMIT_BYTES + 65_536
_FULL_PAUSE_S = 0.005
_FULL_PAUSES_COUNT = 200  # a second, after which the other process hangs
_TELL_TIMEOUT_S = 2.0  # far more than it takes, and a fifth of what Prometheus waits for as it comes
_TOLD_AT_ONCE_BYTES = 65_536


class Passing:
    """This process among those that serve one port."""

    def __init__(self, inbox_fd: int, outbox_fds: Mapping[int, int], tell: Callable[[], bytes]) -> None:
        """``inbox_fd`` is where connections come to this process, ``outbox_fds`` where they are passed on to the others, by
        number; all are datagram sockets. ``tell()`` is what others get that ask; it is called in a greenlet of its own.
        """
        self._tell = tell
        self.inbox: Any = _socket.socket(fileno=inbox_fd)
        self._outboxes: dict[int, Any] = {other: _socket.socket(fileno=fd) for other, fd in outbox_fds.items()}
        for one in (self.inbox, *self._outboxes.values()):
            one.setblocking(False)

    def other_of(self, target: str) -> int:
        """Return the number of the other process that has to answer a request, 0 where it is for this one."""
        number = process_of(target)
        return number if number in self._outboxes else 0

    def pass_on(self, fd: int, begun: bytes, number: int) -> bool:
        """Give another process a connection, of which ``begun`` was read. It stays open here: the caller closes it.

        Waits in its greenlet while the other one has too much to do. Returns False if it takes none: then its sessions are
        lost, and whoever answers may say so.
        """
        for _ in range(_FULL_PAUSES_COUNT):
            try:
                _socket.send_fds(self._outboxes[number], [begun], [fd])
            except BlockingIOError:
                eventlet.sleep(_FULL_PAUSE_S)
            except OSError:
                return False
            else:
                return True
        return False

    def ask_others(self) -> dict[int, bytes | None]:
        """Return what each of the others tells, by number, None for one that hangs or is not there. Waits, 2 s at most."""
        return dict(zip(self._outboxes, eventlet.GreenPool().imap(self._ask, self._outboxes), strict=True))

    def _ask(self, number: int) -> bytes | None:
        try:
            ours, theirs = _socket.socketpair()
            with closing(greenio.GreenSocket(ours)) as answer, eventlet.Timeout(_TELL_TIMEOUT_S, False):
                with closing(theirs):
                    if not self.pass_on(theirs.fileno(), b"", number):
                        return None
                return b"".join(iter(lambda: answer.recv(_TOLD_AT_ONCE_BYTES), b"")) or None
        except OSError:  # no file descriptor is left, or it ended before it has read this
            pass
        return None

    def tell(self, asker: Any) -> None:
        """Tell another process how this one is, which waits for it at the other end of ``asker``, and close that."""
        try:
            with closing(greenio.GreenSocket(asker)) as answer, eventlet.Timeout(_TELL_TIMEOUT_S, False):
                answer.sendall(self._tell())
        except ConnectionError:  # it waits no longer
            pass
        except Exception:
            logger.exception("another process was told nothing")

    def receive(self) -> tuple[Any, bytes] | None:
        """Return a connection that was passed on to this process and what was read of it, None if there is none now."""
        try:
            begun, fds, _, _ = _socket.recv_fds(self.inbox, _BEGUN_LIMIT_BYTES, 1)
        except BlockingIOError:
            return None
        if not fds:
            # This process has no file descriptors left: the system has closed the connection.
            return None
        return _socket.socket(fileno=fds[0]), begun


class Inbox:
    """What the loop reads to get connections that were passed on to this process."""

    is_ready = False

    def __init__(self, passing: Passing, loop: Watcher) -> None:
        self.connection: socket.socket = passing.inbox
        self._passing = passing
        self._loop = loop

    def on_readable(self) -> bool:
        received = self._passing.receive()
        if received is None:
            return False
        connection, begun = received
        if connection.family == _socket.AF_UNIX:
            eventlet.spawn_n(self._passing.tell, connection)
            return True
        try:
            address = connection.getpeername()
        except OSError:  # it has gone meanwhile
            connection.close()
            return True
        newcomer = self._loop.take_in(connection, address)
        if newcomer is not None and begun:
            self._loop.welcome(newcomer, begun)
        return True

    def on_writable(self) -> None:
        """Nothing is written here by the loop."""

    def forget(self) -> None:
        """It stays for as long as the process."""
