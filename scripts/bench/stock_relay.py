"""A plain relay of an AI backend's stream under Flask-SocketIO: a background task per question, an event per token.

Imported once eventlet has patched the standard library.
"""

import json
import os
import time

import requests

_session = requests.Session()


def relay(socketio, sid, user, data):
    """Ask the backend and emit what it answers to one client."""
    started_s = time.time()
    request_id, level = data["request_id"], data.get("intelligence_level", "super")
    session_id = data.get("session_id", sid)
    question = {"message": data["message"], "intelligence_level": level, "session_id": session_id}
    body = {**question, "stream": True, "user_identifier": user}
    event, answer, token_count, first_s = b"", "", 0, started_s
    with _session.post(os.environ["HAZOOM_LLM_URL"], json=body, stream=True, timeout=60) as response:
        for line in response.iter_lines():
            field, _, value = line.partition(b": ")
            if field == b"event":
                event = value
            elif field == b"data" and event == b"token":
                token = json.loads(value)["token"]
                socketio.emit("llm_token", {"token": token, "request_id": request_id, "index": token_count}, to=sid)
                first_s = first_s if token_count else time.time()
                token_count += 1
            elif field == b"data" and event == b"end":
                answer = json.loads(value)["full_response"]
    complete = {
        "message": "Response complete",
        "timestamp": time.time(),
        "request_id": request_id,
        "response": answer,
        "finish_reason": "stop",
        "intelligence_level": level,
        "session_id": session_id,
        "token_count": token_count,
        "ttft_ms": (first_s - started_s) * 1000,
        "duration_ms": (time.time() - started_s) * 1000,
    }
    socketio.emit("llm_complete", complete, to=sid)
