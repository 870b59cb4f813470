"""The supervisor of several workers: starts them, starts one again that dies, and ends them together.

It holds the listening sockets, one for each worker, among which Linux shares the connections out. While a worker is not
there the supervisor accepts for it and passes the connections on to others (`hazoom_ws.transport.serving.passing`), so that
none waits for a worker that has died; it reads and answers nothing itself. When the command starts, the first worker goes
ahead, and the others only get as far as they can by themselves: what keeps one from serving keeps all of them from it, and
is said once. When all serve, the ready line is written.

Each worker has one end of a socket pair, the control socket. It is sent a byte when it may begin to serve, and sends one
when it does. That the supervisor's end is shut is the word to end calmly. So a supervisor that is killed ends its workers
as well, and a worker that gets a signal of its own at the same time (systemd and Ctrl-C send theirs to all processes of a
service or a terminal) does not take the two for the second signal, at which it would end at once.

Runs in a process of its own with nothing of the server in its memory, in one thread, which waits in `_wait`.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count

import msgspec

from hazoom_ws.access.json_logs import set_up_log
from hazoom_ws.commands.listening import say_ready
from hazoom_ws.commands.workers import Plan, Worker
from hazoom_ws.log_fields import fields
from hazoom_ws.settings.sources import WORKER_NUMBER, WORKER_SOCKETS

logger = logging.getLogger(__name__)

_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 30.0  # a worker that has served for so long begins with the first delay again
_KILL_MARGIN_S = 1.0  # beyond the time in which a worker ends by itself, in which containers are not killed yet
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Process:
    """A worker, running or not. ``starts_at_s``: when it is to be started, None while it runs or is not to be."""

    def __init__(self, number: int, listener_fd: int) -> None:
        self.number = number
        self.listener = socket.socket(fileno=listener_fd)
        # Datagrams: each is one connection that is passed on. This process has both ends, so that what waits for a worker
        # that has died is not lost with it but ended by `close_passed`.
        self.inbox, self.outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for one in (self.inbox, self.outbox, self.listener):
            one.setblocking(False)
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.is_ready = False
        self.ready_at_s = 0.0
        self.starts_at_s: float | None = None
        self.delay_s = _FIRST_DELAY_S

    def start(self, others: "list[_Process]", *, waits: bool = False) -> None:
        """Start it; ``waits``: it serves only after `go_on`. Raises OSError if the system has no process for it."""
        self.control, theirs = socket.socketpair()
        outbox_fds = {other.number: other.outbox.fileno() for other in others if other is not self}
        told = Worker(self.number, self.listener.fileno(), theirs.fileno(), self.inbox.fileno(), outbox_fds)
        own = {WORKER_NUMBER: str(self.number), WORKER_SOCKETS: msgspec.json.encode(told).decode()}
        self.starts_at_s = None
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, *sys.orig_argv[1:]],
                env=os.environ | own,
                pass_fds=(self.listener.fileno(), theirs.fileno(), self.inbox.fileno(), *outbox_fds.values()),
            )
        if not waits:
            self.go_on()

    def go_on(self) -> None:
        """Let it begin to serve."""
        if self.control is not None:
            with contextlib.suppress(OSError):  # it has died already, which is found out in a moment
                self.control.send(b"+")

    def hear(self) -> None:
        """Read its control socket: it serves, or has closed its end."""
        assert self.control is not None
        try:
            has_said = bool(self.control.recv(16))
        except OSError:
            has_said = False
        if has_said:
            self.is_ready, self.ready_at_s = True, time.monotonic()
        else:
            self._close_control()

    def status_at_end(self) -> int | None:
        """Return its exit status once, if it has ended since it was started, else None."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.process = None
        self._close_control()
        if self.is_ready and time.monotonic() - self.ready_at_s >= _LONGEST_DELAY_S:
            self.delay_s = _FIRST_DELAY_S
        self.is_ready = False
        return status

    def start_later(self) -> float:
        """Have it started again after a while, longer each time; return the seconds."""
        delay_s = self.delay_s
        self.starts_at_s = time.monotonic() + delay_s
        self.delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        return delay_s

    def _close_control(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None

    def end(self) -> None:
        """Have it end calmly; one that does not serve yet has nothing to end."""
        self.starts_at_s = None
        if self.is_ready and self.control is not None:
            with contextlib.suppress(OSError):
                self.control.shutdown(socket.SHUT_WR)
        elif self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()

    def accept_for(self, other: "_Process") -> None:
        """Give a connection that waits for this worker, which does not serve, to another one."""
        try:
            connection, _ = self.listener.accept()
        except OSError:  # it has gone, or there are no file descriptors: then it waits
            return
        with connection, contextlib.suppress(OSError):  # it hangs: the client comes back
            socket.send_fds(other.outbox, [b""], [connection.fileno()])

    def close_passed(self) -> None:
        """Close the connections that wait for it: its sessions are gone, and their clients come back when they see it."""
        with contextlib.suppress(BlockingIOError):
            while True:
                _, fds, _, _ = socket.recv_fds(self.inbox, 1, 1)
                for fd in fds:
                    os.close(fd)


class Supervisor:
    """All workers. `run` returns the exit status."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._processes = [_Process(number, fd) for number, fd in enumerate(plan.listener_fds, 1)]
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._turns = count()
        self._signalled: signal.Signals | None = None
        self._failed_status: int | None = None  # of a worker that has never served
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)

    def run(self) -> int:
        """Serve until a signal comes, and return 0; or the status of a worker that cannot be started at all."""
        first, *others = self._processes
        for one in self._processes:
            one.start(self._processes, waits=one is not first)
        self._wait_until_ready(first)
        for one in others if self._goes_on else ():
            one.go_on()
        for one in others:
            self._wait_until_ready(one)
        if self._goes_on:
            host, port = first.listener.getsockname()[:2]
            say_ready(host, port)
        while self._goes_on:
            self._wait()
        if self._signalled is not None:
            extra = fields("server_stopping", signal=self._signalled.name)
            logger.info("stopping %d workers on %s", len(self._processes), self._signalled.name, extra=extra)
        self._end_all()
        return self._failed_status or 0

    @property
    def _goes_on(self) -> bool:
        return self._signalled is None and self._failed_status is None

    def _wait_until_ready(self, one: _Process) -> None:
        while self._goes_on and not one.is_ready:
            self._wait(is_starting=True)

    def _end_all(self) -> None:
        for one in self._processes:
            one.end()
        kill_at_s = time.monotonic() + self._plan.grace_s + _KILL_MARGIN_S
        while any(one.process is not None for one in self._processes):
            self._wait(until_s=kill_at_s, is_ending=True)
            if time.monotonic() >= kill_at_s:
                logger.warning("a worker does not end within %g s, and is killed", self._plan.grace_s)
                for one in self._processes:
                    one.kill()
                kill_at_s = float("inf")

    def _wait(self, *, until_s: float = float("inf"), is_starting: bool = False, is_ending: bool = False) -> None:
        """Wait until something happens, and do what is to be done then. ``is_starting``: who ends now fails the start."""
        starts_s = [one.starts_at_s for one in self._processes if one.starts_at_s is not None]
        for happened in self._happened(min([until_s, *starts_s])):
            happened()
        for one in self._processes:
            has_served = one.is_ready
            status = one.status_at_end()
            if status is not None and is_starting and not has_served:
                self._failed_status = status if status > 0 else 1
            elif status is not None and not is_ending:
                self._start_again(one, f"has ended with status {status}")
            if self._goes_on and one.starts_at_s is not None and one.starts_at_s <= time.monotonic():
                try:
                    one.start(self._processes)
                except OSError as error:
                    self._start_again(one, f"cannot be started ({error.strerror})")

    def _happened(self, until_s: float) -> list[Callable[[], object]]:
        """Wait, and return what is to be called because of what has happened."""
        serving = [one for one in self._processes if one.is_ready]
        with selectors.DefaultSelector() as selector:
            selector.register(self._receiver, selectors.EVENT_READ, lambda: self._receiver.recv(64))
            for one in self._processes:
                if one.control is not None:
                    selector.register(one.control, selectors.EVENT_READ, one.hear)
                if not one.is_ready:
                    selector.register(one.inbox, selectors.EVENT_READ, one.close_passed)
                if not one.is_ready and serving:
                    other = serving[next(self._turns) % len(serving)]
                    selector.register(one.listener, selectors.EVENT_READ, partial(one.accept_for, other))
            found = selector.select(None if until_s == float("inf") else max(0.0, until_s - time.monotonic()))
        return [key.data for key, _ in found]

    def _start_again(self, one: _Process, why: str) -> None:
        delay_s = one.start_later()
        extra = fields("worker_ended", worker=one.number, delay_s=delay_s)
        logger.warning("worker %d %s and is started again in %g s", one.number, why, delay_s, extra=extra)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._signalled is None:
            self._signalled = signal.Signals(number)
            return
        for one in self._processes:
            one.kill()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def main(plan: str) -> int:
    """Supervise; return the exit status."""
    decoded = msgspec.json.decode(plan, type=Plan)
    set_up_log(decoded.log_level, decoded.log_format)
    return Supervisor(decoded).run()
