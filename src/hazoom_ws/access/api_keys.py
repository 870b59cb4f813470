"""The API keys of backends, and of clients where sockets ask for one: who has one may.

Called once when an application is built, then for every request and handshake that brings a key. Nothing here shows a key:
only digests are kept, and no error repeats what was read.
"""

import hashlib
import hmac
from pathlib import Path

from hazoom_ws.settings import API_KEYS_LIMIT_COUNT, Settings, SettingsError
from hazoom_ws.settings.checks import checked_key

_FILE_LIMIT_BYTES = 1_048_576  # far more than the keys that may be in it


class ApiKeys:
    """The keys of one application, as digests; there may be none."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._digests = [_digest(key) for key in dict.fromkeys(keys)]

    @classmethod
    def of(cls, settings: Settings) -> "ApiKeys":
        """Return the keys of ``api_keys`` and of the file ``api_keys_file``. Raises `SettingsError`, without a key."""
        keys = settings.api_keys
        if settings.api_keys_file:
            keys += _read(settings.api_keys_file)
        if len(keys) > API_KEYS_LIMIT_COUNT:
            raise SettingsError(f"api_keys and api_keys_file: {len(keys)} keys, the limit is {API_KEYS_LIMIT_COUNT}")
        return cls(keys)

    def __bool__(self) -> bool:
        """Return whether there is any: without one nobody has the right that a key gives."""
        return bool(self._digests)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._digests)}>"

    def holds(self, text: str) -> bool:
        """Return whether ``text`` is one of them, in a time that says nothing about which, or how nearly."""
        digest = _digest(text)
        is_one = False
        for known in self._digests:
            is_one |= hmac.compare_digest(digest, known)
        return is_one


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _read(path: str) -> tuple[str, ...]:
    """Return the keys of a file: one a line, without blank lines and comments."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_FILE_LIMIT_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        # Not the path: who mistakes this setting for the other one has a key there.
        raise SettingsError(f"api_keys_file: the file cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError:
        raise SettingsError("api_keys_file: the file is no text in UTF-8") from None
    if len(text) > _FILE_LIMIT_BYTES:
        raise SettingsError(f"api_keys_file: the file has more than {_FILE_LIMIT_BYTES} bytes")
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        try:
            keys.append(checked_key(key))
        except ValueError as error:
            raise SettingsError(f"api_keys_file: line {number}: {error}") from None
    if not keys:
        raise SettingsError("api_keys_file: the file holds no key; write one a line")
    return tuple(keys)
