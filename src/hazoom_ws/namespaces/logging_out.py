"""Logging a user out: all their connections end, none of them may come back, and what they have asked the AI is stopped.

Called by the application around us and by the HTTP route for backends; from where it may be called, `FromApplication` says.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from hazoom_ws.access.accounts import Accounts
from hazoom_ws.chat.effects import Close
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import User
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.events.connecting import Bye
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.names import composed


class LoggingOut:
    """Ends what users have here."""

    def __init__(
        self,
        hub: Hub,
        answers: Answers,
        accounts: Accounts,
        delivery: Delivery,
        *,
        turn: Callable[[], AbstractContextManager[Any]],
        note: Callable[[User], None],
    ) -> None:
        """``turn`` is `FromApplication.turn`, ``note`` `Admission.note_logged_out`.

        ``tell_others`` tells other processes, where there are some, the id of who is logged out: they call `end`.
        """
        self.tell_others: Callable[[str], object] = lambda _: None
        self._hub = hub
        self._answers = answers
        self._accounts = accounts
        self._delivery = delivery
        self._turn = turn
        self._note = note

    def disconnect_user(self, user_id: str) -> int:
        """Log out whoever has this id, the name in open mode; return how many connections have ended.

        Their clients are told and do not come back by themselves; nobody recovers one of their sessions. Logging out who
        is not here is no error. Raises RuntimeError in a foreign thread.
        """
        with self._turn():
            ended_count = sum(self._accounts.users.elsewhere_count(user.id) for user in _users_of(user_id))
            self.tell_others(user_id)
            return ended_count + self.end(user_id)

    def end(self, user_id: str) -> int:
        """End what somebody has at this process, within a turn; return how many connections have ended."""
        ended_count = 0
        for user in _users_of(user_id):
            self._note(user)
            # Who has documents or boards open only is known by its account.
            ids = {connection.id for connection in self._hub.connections_of(user)}
            ids |= {account.id for account in self._accounts.of_user(user)}
            for connection_id in ids:
                self._end(connection_id)
            ended_count += len(ids)
            self._hub.log_out(user)
            self._answers.stop_all(user, shared=True)
        return ended_count

    def _end(self, connection_id: str) -> None:
        clients = self._delivery.clients_of(connection_id)
        if clients is not None:
            self._hub.disconnect(clients.connection, may_return=False)
        self._delivery.add(Close(connection_id, Bye(reason="logged_out", reconnect=False)))


def _users_of(user_id: str) -> tuple[User, User]:
    """Return who may have an id: who was identified has the first, a name that nobody checks is the second."""
    return User.identified(user_id, ""), User.named(composed(user_id.strip()))
