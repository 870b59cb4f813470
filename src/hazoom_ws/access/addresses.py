"""Whose connection it is, as far as addresses tell: what limits per address go by.

Behind a proxy every connection comes from the proxy; the client's address is what a trusted one says of it
(``X-Forwarded-For``), and nobody else is believed. Loopback addresses are not limited: who is there may be a proxy that is
not listed, with everybody behind it.
"""

import ipaddress
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_REMEMBERED_COUNT = 4096
UNREADABLE = "unreadable"  # all of whom nobody can read share one address
_IPV6_PREFIX = 64  # what one customer gets: within it everybody has as many addresses as they like
_CHAIN_LIMIT_CHARS = 2000  # of the header, from its end


def address_reader(trusted_proxies: tuple[str, ...]) -> Callable[[Mapping[str, Any]], str]:
    """Return a function from a request, in the keys of WSGI, to the address that limits go by; "" for none.

    It is that of `reader`; IPv6 addresses count by their /64.
    """
    read = reader(trusted_proxies)
    return lambda environ: _limited(read(environ))


def reader(trusted_proxies: tuple[str, ...]) -> Callable[[Mapping[str, Any]], str]:
    """Return a function from a request, in the keys of WSGI, to the address of its client.

    ``trusted_proxies`` are networks, such as "127.0.0.0/8": the last address in ``X-Forwarded-For`` that is not in one of
    them counts, without the port that some proxies add; `UNREADABLE` if that is no address.
    """
    networks = tuple(ipaddress.ip_network(network, strict=False) for network in trusted_proxies)

    @lru_cache(_REMEMBERED_COUNT)
    def is_trusted(text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in network for network in networks)

    def read(environ: Mapping[str, Any]) -> str:
        address: str = environ.get("REMOTE_ADDR", "")
        if networks and is_trusted(address):
            chain: str = environ.get("HTTP_X_FORWARDED_FOR", "")
            for hop in reversed(chain[-_CHAIN_LIMIT_CHARS:].split(",")):
                address = _without_port(hop.strip()) or address
                if not is_trusted(address):
                    return address if _parsed(address) is not None else UNREADABLE
        return address

    return read


@lru_cache(_REMEMBERED_COUNT)
def _limited(text: str) -> str:
    if text == UNREADABLE:
        return text
    address = _parsed(text)
    if address is None or address.is_loopback:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.partition(":")
    return host if host and port.isdecimal() else text  # of IPv6 the first part would be followed by more than a number


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, None for what is none; one of IPv4 that is written in IPv6 is that of IPv4."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
