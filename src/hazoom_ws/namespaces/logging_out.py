"""Logging a user out: all their connections end, none of them may come back, and what they have asked the AI is stopped.

Called by the application around us and by the HTTP route for backends; from where it may be called, `FromApplication` says.
"""

from collections.abc import Callable

from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.names import composed
from hazoom_ws.namespaces.application import FromApplication
from hazoom_ws.transport.socketio.fan_out import FanOut


class LoggingOut:
    """Ends what users have here."""

    def __init__(
        self, hub: Hub, answers: Answers, outside: FromApplication, fan_out: FanOut, disconnect: Callable[[str, str], None]
    ) -> None:
        """``disconnect(sid, namespace)`` says goodbye to a client, which then stays away (`Dispatcher.disconnect`)."""
        self._hub = hub
        self._answers = answers
        self._outside = outside
        self._fan_out = fan_out
        self._disconnect = disconnect

    def disconnect_user(self, user_id: str) -> int:
        """Log out whoever has this id, the name in open mode; return how many connections have ended.

        Their clients are told and do not come back by themselves; nobody recovers one of their sessions. Logging out who
        is not here is no error. Raises RuntimeError in a foreign thread.
        """
        ended_count = 0
        with self._outside.turn():
            # Who was identified has the first id, a name that nobody checks is the second.
            for user in (User.identified(user_id, ""), User.named(composed(user_id.strip()))):
                connections = self._hub.connections_of(user)
                for connection in connections:
                    self._end(connection)
                ended_count += len(connections)
                self._hub.recoverable.forget(user)
                self._answers.stop_all(user, shared=True)
        return ended_count

    def _end(self, connection: Connection) -> None:
        # Not the session below: a client that polls would not hear of it, and come back.
        for namespace in self._fan_out.namespaces_of(connection.id):
            client = self._fan_out.client_of(connection.id, namespace)
            if client is not None:
                self._disconnect(client.sid, namespace)
