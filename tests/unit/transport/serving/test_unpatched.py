"""A library for threads gets plain sockets and locks, and nobody else does."""

import subprocess
import sys

PROGRAM = """
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
import socket, ssl, sys
import socketio  # which imports Redis' client, patched
import redis
from hazoom_ws.transport.serving.unpatched import import_unpatched
before = {name: id(module) for name, module in sys.modules.items() if not name.startswith("__original")}
plain = import_unpatched("redis")
assert {name: id(sys.modules[name]) for name in before} == before
assert not [name for name in sys.modules if name not in before and not name.startswith("__original")]
connection = plain.connection
assert plain is not redis and connection.socket is not socket and connection.ssl is not ssl
assert "eventlet" not in connection.socket.socket.__module__
assert not [kind for kind in connection.ssl.SSLSocket.__mro__ if "eventlet" in kind.__module__]
assert "eventlet" not in type(connection.threading.RLock()).__module__
assert type(connection.threading.Lock()).__module__ == "_thread"
"""


def test_a_library_for_threads_has_nothing_of_eventlet() -> None:
    """A lock that two threads wanted at once failed: "Cannot switch to a different thread"."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
