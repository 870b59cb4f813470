"""The documents of a log in a file: how one is read.

What turns do and what threads do meet in three places, each of which takes one step of the interpreter: the queue of
snapshots, the file itself, and whether the log is unwell.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.pending_documents import PendingDocuments
from hazoom_ws.message_log.sqlite.damage import DAMAGED, FILE_ERRORS, problem_of
from hazoom_ws.message_log.sqlite.document_table import read_document
from hazoom_ws.message_log.sqlite.file import open_to_read
from hazoom_ws.message_log.state_cache import Numbers

_READ_TIMEOUT_S = 5.0  # a backup may hold the file for a moment


class SqliteDocuments(PendingDocuments):
    """What `Documents` promises, with the file at ``path``."""

    def __init__(self, path: Path, numbers: Numbers, check: Callable[[], None], on_problem: Callable[[str], None]) -> None:
        """``check()`` raises `LogUnavailable` if nothing can be kept or read at the moment. Also for threads.

        ``on_problem`` is told if a file turns out to be damaged; what else hinders one reading hinders nobody else.
        """
        super().__init__(numbers, check)
        self._path = path
        self._on_problem = on_problem

    def read(self, document: str) -> StoredDocument | None:
        self._check()
        try:
            with closing(open_to_read(self._path, timeout_s=_READ_TIMEOUT_S)) as connection:
                return read_document(connection, document)
        except FILE_ERRORS as error:
            problem = problem_of(error)
            if problem == DAMAGED:
                self._on_problem(problem)
            raise LogUnavailable(problem) from error
