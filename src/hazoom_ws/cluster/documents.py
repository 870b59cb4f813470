"""Documents that are open in several processes: what is said in `hazoom_ws.live.documents.others`, over `Peers`."""

from collections.abc import Callable
from functools import partial

from hazoom_ws.cluster.news import News
from hazoom_ws.live.documents.documents import Documents
from hazoom_ws.live.documents.others import AGAIN, AWARENESS, CLOSED, HERE, OPENED, SNAPSHOT
from hazoom_ws.message_log.peers import Heard, Peers

_CHANNEL = "document:"
_UPDATE = b"u"
_ANSWER_LIMIT_S = 10.0  # after which a process has no document open that does not answer


class OtherProcesses:
    """The `Others` of the documents of one process."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def follow(self, document: str) -> None:
        """See `Others`."""
        self._peers.follow([_CHANNEL + document])

    def unfollow(self, document: str) -> None:
        """See `Others`."""
        self._peers.unfollow([_CHANNEL + document])

    def tell(self, document: str, word: bytes, data: bytes) -> None:
        """See `Others`."""
        self._peers.publish(_CHANNEL + document, word, data)


class SharedDocuments:
    """Tells the documents of one process what others say of them. Called within turns."""

    def __init__(
        self, documents: Documents, peers: Peers, news: News, *, wake: Callable[[], object], clock: Callable[[], float]
    ) -> None:
        """``wake`` is called when `run_due` has something to do later. ``clock``: monotonic, in seconds."""
        self._documents = documents
        self._wake = wake
        self._clock = clock
        self._asked_at_s: float | None = None
        news.on[_UPDATE] = self._hear_update
        for word in (OPENED, HERE, AWARENESS, AGAIN, CLOSED, SNAPSHOT):
            news.on[word] = partial(self._hear, word)
        peers.on_back.append(self._on_back)

    def run_due(self) -> float | None:
        """Let those be gone who do not answer; return the seconds until the next time."""
        if self._asked_at_s is None:
            return None
        left_s = self._asked_at_s + _ANSWER_LIMIT_S - self._clock()
        if left_s > 0:
            return left_s
        self._asked_at_s = None
        self._documents.lose_unheard()
        return None

    def _hear_update(self, heard: Heard) -> None:
        seq, _, update = heard.data.partition(b" ")
        self._documents.hear_update(heard.channel.removeprefix(_CHANNEL), int(seq), update)

    def _hear(self, word: bytes, heard: Heard) -> None:
        self._documents.hear(heard.channel.removeprefix(_CHANNEL), heard.process, word, heard.data)

    def _on_back(self) -> None:
        self._documents.hear_again()
        self._asked_at_s = self._clock()
        self._wake()
