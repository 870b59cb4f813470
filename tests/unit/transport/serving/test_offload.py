"""`Worker` under eventlet, in a process of its own, where the system gives no threads for a while."""

import subprocess
import sys

import pytest

SCRIPT = """
import warnings
warnings.filterwarnings("ignore", message="\\\\s*Eventlet is deprecated")
import eventlet
eventlet.monkey_patch()
import logging, sys
from eventlet import event
from hazoom_ws.transport.serving import offload

logging.basicConfig(format="%(message)s", stream=sys.stdout)
start, left = offload._threading.Thread.start, [{given}]

def limited(thread):
    if not left[0]:
        raise RuntimeError("can't start new thread")
    left[0] -= 1
    start(thread)

def outcome(function):
    called_back = event.Event()
    worker.submit(called_back.send, function)
    return called_back.wait(20)

offload._threading.Thread.start = limited
worker = offload.Worker(lambda: None)
for _ in range(2):
    try:
        print("called back with", outcome(lambda: None))
    except RuntimeError as error:
        print(error)
left[0] = 2
print("called back with", outcome(lambda: None), "by", len(worker._threads))
worker.close()
"""
NONE = "can't start new thread\n"
DONE = "called back with None"


@pytest.mark.parametrize(
    ("given", "output"),
    [
        (0, f"{NONE}{NONE}{DONE} by 2\n"),
        (1, f"one thread does what 2 should: {NONE}{DONE}\n{DONE}\n{DONE} by 1\n"),
        (2, f"{DONE}\n{DONE}\n{DONE} by 2\n"),
    ],
)
def test_what_cannot_be_done_in_a_thread_is_refused_until_there_is_one(given: int, output: str) -> None:
    """After the first failure everything waited for threads that were not there, and nothing was kept any more."""
    command = [sys.executable, "-c", SCRIPT.format(given=given)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.stdout, ended.stderr) == (output, "")
