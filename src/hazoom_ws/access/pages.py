"""Who may see the pages and what they tell of rooms and versions: on this machine everybody, elsewhere who has a key.

Asked for each request, in the keys of WSGI. A browser is asked for the key by HTTP Basic, as the password of any user.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.credentials import key_in
from hazoom_ws.settings.checks import is_loopback

CHALLENGE = 'Basic realm="hazoom_ws", charset="UTF-8"'
_BY_PROXIES = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
_CREDENTIALS_LIMIT_CHARS = 4096


def may_see_pages(environ: Mapping[str, Any], keys: ApiKeys, *, is_local: bool, is_open: bool) -> bool:
    """Return whether a request may see pages: with a key, or if it ``is_local``, or the operator has said ``is_open``."""
    return is_local or is_open or any(map(keys.holds, _offered(environ)))


def local_reader(host: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return a function from a request to whether it comes from this machine, to a server that listens on nothing else.

    What a proxy passes on does not, wherever it says that it comes from.
    """
    is_here = is_loopback(host)

    def is_local(environ: Mapping[str, Any]) -> bool:
        is_passed_on = any(name in environ for name in _BY_PROXIES)
        return is_here and not is_passed_on and is_loopback(environ.get("REMOTE_ADDR", ""))

    return is_local


def names_this_machine(environ: Mapping[str, Any]) -> bool:
    """Return whether a request says that it is for this machine, by a name that nobody else can have for it.

    A page elsewhere whose name leads here (DNS rebinding) is told what is for everybody here, and no more.
    """
    host = environ.get("HTTP_HOST", "localhost")
    return is_loopback(host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0])


def _offered(environ: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a request brings as a key: in the header, the query, or as a password."""
    if key := key_in(environ):
        yield key
    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "basic" and len(credentials) <= _CREDENTIALS_LIMIT_CHARS:
        try:
            user_and_password = base64.b64decode(credentials.strip(), validate=True).decode()
        except ValueError:
            return
        yield user_and_password.partition(":")[2]
