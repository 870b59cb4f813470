import http.client
import json
from urllib.parse import urlsplit

import pytest

from hazoom_ws.llm_bridge.demo import DemoBackend
from hazoom_ws.llm_bridge.sse import SseDecoder
from hazoom_ws.settings import CHAT_PATH


@pytest.fixture(scope="module")
def demo():
    with DemoBackend() as backend:
        yield backend


def request(demo: DemoBackend, method: str, path: str, body: bytes | None = None):
    connection = http.client.HTTPConnection(urlsplit(demo.url).netloc, timeout=20)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", [CHAT_PATH, "/quantum-goose-app/api/chat/"])
def test_a_stream_has_the_exact_wire_format(demo, path):
    body = json.dumps({"message": "hi 😀", "stream": True, "session_id": "s", "intelligence_level": "nano"}).encode()
    response, stream = request(demo, "POST", path, body)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Content-Length"] is None
    assert response.headers["Transfer-Encoding"] is None
    assert response.headers["Set-Cookie"].startswith("sessionid=")
    events = [(event.event, json.loads(event.data)) for event in SseDecoder(event_limit_bytes=10**6).feed(stream)]
    session = {"session_id": "s"} if path == CHAT_PATH else {}
    tokens = [data["token"] for event, data in events[1:-1]]
    assert events[0] == ("start", {"status": "started", **session})
    assert all(event == "token" and data == {"token": data["token"], **session} for event, data in events[1:-1])
    assert events[-1] == ("end", {"status": "completed", "full_response": "".join(tokens), **session})
    assert "demo" in events[-1][1]["full_response"]
    assert "hi 😀" in events[-1][1]["full_response"]


def test_without_stream_it_answers_json(demo):
    body = json.dumps({"message": "hi", "stream": False, "user_identifier": "Ann"}).encode()
    response, text = request(demo, "POST", CHAT_PATH, body)
    answer = json.loads(text)
    assert response.status == 200
    assert answer.keys() == {"response", "session_id", "user_identifier", "intelligence_level", "system_stats"}
    assert (answer["user_identifier"], answer["intelligence_level"]) == ("Ann", "super")
    assert answer["session_id"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "Invalid JSON"),
        (b"{}", "No message provided"),
        (b'{"message":5}', "No message provided"),
    ],
)
def test_bad_requests_are_answered_as_django_does(demo, body, error):
    response, text = request(demo, "POST", CHAT_PATH, body)
    assert (response.status, json.loads(text)) == (400, {"error": error})


def test_health_and_unknown_paths(demo):
    response, text = request(demo, "GET", "/quantum-goose-app/api/llm/health/")
    assert (response.status, json.loads(text)["status"]) == (200, "healthy")
    assert request(demo, "GET", "/")[0].status == 404
    assert request(demo, "POST", "/", b"{}")[0].status == 404
