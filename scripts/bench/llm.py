"""The scenarios of AI answers: what relaying a token costs and adds, what a request costs, and what chat notices of it."""

import socket
import threading
import time
from collections.abc import Iterator

from bench import traffic
from bench.load import run_load
from bench.peers import Peer, running
from bench.report import Sample
from bench.setting import NO_DEFAULT_ROOM, Setting

_LOADS = ((200, 50), (1000, 10))  # answers at once, tokens per second of each
_LIMITS = {"HAZOOM_LLM_STREAMS_PER_USER_LIMIT": "100", "HAZOOM_LLM_STREAMS_LIMIT": "2000"}
_BACKLOG = 4096
_HEAD_START_S = 3.0  # of the answers, before chat beside them is measured


def llm(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """Relay answers that last two windows, of which the middle one is measured; then open many short ones."""
    if not peer.relays:
        return
    for count, rate in _LOADS:
        opens = count == _LOADS[0][0]
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as backend:
            url = f"http://127.0.0.1:{backend.getsockname()[1]}/chat/"
            with running(peer, setting.cores, **NO_DEFAULT_ROOM, **_LIMITS, HAZOOM_LLM_URL=url) as server:
                result = run_load(
                    setting.tools,
                    setting.cores,
                    server,
                    "llm",
                    limit_s=120,
                    backend=backend,
                    clients=count,
                    rate=rate,
                    tokens=round(2 * setting.window_s * rate),
                    asking=setting.window_s if opens else 0,
                )
        raw = result["together"]
        token_s = raw["server_cpu_s"] / raw["tokens"]
        case = f"{count:,} answers, {rate} tokens/s each"
        yield Sample(f"{case}: CPU per token, us", token_s * 1e6, raw, token_s * 1e6, True, "45, and 0.6 of Node's")
        yield Sample(f"{case}: added time, p50, ms", raw["p50_ms"], raw, token_s * 1e6, True)
        yield Sample(f"{case}: added time, p99, ms", raw["p99_ms"], raw, token_s * 1e6, True, "10")
        if opens:
            asking = result["asking"]
            request_s = (asking["server_cpu_s"] - asking["tokens"] * token_s) / asking["requests"]
            yield Sample("opening a request: CPU, ms", request_s * 1000, asking, request_s * 1e6, True, "1.5")


def beside(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """Measure chat as `latency` does, alone and beside a thousand answers."""
    if not peer.relays:
        return
    count, rate = _LOADS[-1]
    for is_beside in (False, True):
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as backend:
            url = f"http://127.0.0.1:{backend.getsockname()[1]}/chat/"
            with running(peer, setting.cores, **NO_DEFAULT_ROOM, **_LIMITS, HAZOOM_LLM_URL=url) as server:
                answers = threading.Thread(
                    target=run_load,
                    args=(setting.tools, setting.cores, server, "llm"),
                    kwargs={
                        "backend": backend,
                        "clients": count,
                        "rate": rate,
                        "tokens": round((2 * setting.window_s + 3 * _HEAD_START_S) * rate),
                        "asking": 0,
                    },
                )
                if is_beside:
                    answers.start()
                    time.sleep(_HEAD_START_S)
                raw = traffic.chat(setting, server)
                if is_beside:
                    answers.join()
        case = f"chat beside {count:,} answers" if is_beside else "chat alone"
        for name in ("p50", "p99"):
            yield Sample(f"{case}: one-way time, {name}: ms", raw[f"{name}_ms"], raw, None, lower_is_better=True)
