"""The other processes that have the same documents open, where several share a log.

No process owns a document. Each that has it open holds all of it: it hears of the document before it reads it, and then
merges what the others have kept, in the one order of all. So whichever dies, the others have all that was shown; and each
may write a snapshot up to a number, as it has merged all that is kept up to there. After Redis was away something may have
been missed: then it is read again, before anything else is done to it.

What is not kept they tell each other, in these words. What each is followed by:
    OPENED     all that its editors say of themselves. The others answer with `HERE`
    HERE       the same
    AWARENESS  what has changed of that
    AGAIN      ids that are to be said again, with a higher clock, if they are an editor's there
    CLOSED     nothing: it has let go of the document
    SNAPSHOT   the bytes of a snapshot, as text: it has written one, which the others need not
"""

from typing import Protocol

OPENED, HERE, AWARENESS = b"document-opened", b"document-here", b"document-awareness"
AGAIN, CLOSED, SNAPSHOT = b"document-again", b"document-closed", b"document-snapshot"


class Others(Protocol):
    """The other processes. Without one there is none."""

    def follow(self, document: str) -> None:
        """Hear from now on of all that is kept and told of a document. Beside turns. Raises `LogUnavailable`."""

    def unfollow(self, document: str) -> None:
        """Hear no more of a document. Beside turns. Raises `LogUnavailable`."""

    def tell(self, document: str, word: bytes, data: bytes) -> None:
        """Say a word to those who follow a document, after all that is kept by now. Returns at once."""
