"""The Node process with the official clients (clients.cjs): starts when entered, is gone when left."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import environment
from hostile.server import ServerError, prepare_child

_SCRIPT = Path(__file__).resolve().parent / "clients.cjs"
_OVERTIME_S = 60.0
WEBSOCKET, POLLING, UPGRADE = ("websocket",), ("polling",), ("polling", "websocket")
ALL_TRANSPORTS = (WEBSOCKET, POLLING, UPGRADE, WEBSOCKET)


class People:
    """So many clients for so many seconds, that do what ``weights`` says, with pauses of ``pause_ms`` (least, most).

    ``transports``: which they take, in turn; each is a list as ``io()`` takes it.
    """

    def __init__(
        self,
        port: int,
        clients: int,
        seconds: float,
        weights: dict[str, int],
        pause_ms: tuple[float, float],
        *,
        transports: Sequence[Sequence[str]] = ALL_TRANSPORTS,
    ) -> None:
        wanted: dict[str, object] = {"clients": clients, "seconds": seconds, "weights": weights, "pause_ms": pause_ms}
        wanted["transports"] = transports
        self._limit_s = seconds + _OVERTIME_S
        self._process = subprocess.Popen(
            [environment.node_command(), str(_SCRIPT), json.dumps({"url": f"http://127.0.0.1:{port}", **wanted})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=os.environ | {"NODE_PATH": str(environment.NPM / "node_modules")},
            start_new_session=True,
            preexec_fn=prepare_child,  # noqa: PLW1509 - it touches nothing that a thread may hold
        )

    def __enter__(self) -> "People":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def are_here(self) -> bool:
        return self._process.poll() is None

    def counts(self) -> dict[str, int]:
        """Wait for the end and return what they have done and seen, by name. Raises `ServerError`."""
        try:
            output = self._process.communicate(timeout=self._limit_s)[0]
            return json.loads(output)
        except (ValueError, subprocess.TimeoutExpired):
            raise ServerError("the clients in Node ended without a report") from None
