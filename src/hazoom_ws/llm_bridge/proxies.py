"""Whether the proxy that the environment names for the AI backend is one that it can be asked through.

Found out at the start: later each question would fail, as if the backend were down. The variables are those that `requests`
reads (``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, each in small letters too).
"""

import ipaddress
import os
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from hazoom_ws.settings import SettingsError

_USABLE = ("http", "https")


def check_proxy(url: str) -> None:
    """Raise `SettingsError` if what is named for ``url`` is no HTTP proxy; of that it repeats nothing but the name."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return  # it is asked past all proxies
    with requests.Session() as session:
        found = session.merge_environment_settings(url, {}, stream=True, verify=None, cert=None)["proxies"]
    proxy = requests.utils.select_proxy(url, found)
    if not proxy or _scheme_of(proxy) in _USABLE:
        return
    name, of_scheme = _name_of(proxy), f"{parts.scheme.upper()}_PROXY"
    if proxy.lower().startswith("socks"):
        raise SettingsError(
            f"{name} is a SOCKS proxy, and the AI backend is asked through HTTP proxies only; "
            f"set {of_scheme} to one, or add the backend's host to NO_PROXY"
        )
    raise SettingsError(
        f"{name} is no address of an HTTP proxy; write it like http://proxy.example.com:3128, "
        "or add the backend's host to NO_PROXY"
    )


def _scheme_of(proxy: str) -> str | None:
    """Return the scheme of a proxy's URL as `requests` reads it, None if it cannot be used."""
    with_scheme: Any = requests.utils.prepend_scheme_if_needed
    try:
        parts = urllib3.util.parse_url(with_scheme(proxy, "http"))
    except (urllib3.exceptions.LocationParseError, ValueError):
        return None
    return parts.scheme if parts.host and parts.port != 0 else None


def _name_of(proxy: str) -> str:
    """Return what the variable is called that holds it; on Windows and macOS the system's settings may."""
    names = [name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value == proxy]
    return min(names, key=lambda name: (name.lower() == "all_proxy", name)) if names else "the system's proxy"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address alone; names are not looked up."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 127.1 is one too
        except OSError:
            return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return address.is_loopback or address.is_unspecified
