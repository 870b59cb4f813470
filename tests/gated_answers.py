"""An answer of the Django backend that comes token by token, as the test lets it."""

from servers import Backend, Socket, unique

TOKENS = ["Grüße", " aus", "  dem", " Café", ":\n", "🦆", " \t", "👩‍🚀", "日本", "語 ", "<b>fett</b>", "."]
ANSWER = "".join(TOKENS)


class Gated:
    """An answer whose tokens the test lets through."""

    def __init__(self, backend: Backend, asker: Socket, **fields: object) -> None:
        self._backend = backend
        self._gate = unique("gate")
        self.message = f"do:gated {self._gate}"
        reply = asker.emit("llm_request", {"message": self.message, **fields})
        assert reply["ok"], reply
        self.id: str = reply["request_id"]

    def release(self, count: int) -> None:
        for _ in range(count):
            self._backend.release(self._gate)

    def release_all(self) -> None:
        self.release(len(TOKENS) + 1)

    def tokens(self, socket: Socket) -> list[dict]:
        return [event for event in socket.received("llm_token") if event["request_id"] == self.id]

    def wait_for_tokens(self, socket: Socket, count: int) -> None:
        """Wait until a client has seen so many tokens, however they were joined."""
        text = "".join(TOKENS[:count])
        socket._client.wait(lambda: self.text(socket) == text, f"{count} tokens")

    def text(self, socket: Socket) -> str:
        """Return what a client shows that appends tokens, and begins anew with a snapshot."""
        text = ""
        for event in self.tokens(socket):
            text = event["token"] if event.get("snapshot") else text + event["token"]
        return text
