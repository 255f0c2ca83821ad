"""Where to listen: names become addresses, and an address that cannot be had becomes one clear line."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from typing import Final

from pipeline.config.values import reached_at, split_endpoint
from pipeline.errors import StartError

_FAMILIES: Final = {"tcp": socket.AF_UNSPEC, "tcp4": socket.AF_INET, "tcp6": socket.AF_INET6}

_HINTS: Final = {
    errno.EADDRINUSE: " (is another collector running?)",
    errno.EACCES: " (ports below 1024 need privileges)",
    errno.EADDRNOTAVAIL: " (no interface of this machine has it)",
}

_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What binding says on a machine whose IPv6 is switched off although names still resolve to it."""


async def bound_sockets(endpoint: str, transport: str) -> list[socket.socket]:
    """Return a bound socket, not yet listening, for every address of `endpoint`; at least one.

    A name like localhost may have an IPv4 and an IPv6 address; port 0 becomes the same free port on all. Raises
    StartError, without the component's name.
    """
    host, port = split_endpoint(endpoint)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, family=_FAMILIES[transport], type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise StartError(f'cannot listen on {endpoint}: "{host}" has no address: {error.strerror}') from error
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno in _ABSENT:
                absent = error
                continue
            close_all(sockets)
            raise _cannot_listen(endpoint, error) from error
        port = sockets[-1].getsockname()[1]
    if not sockets:
        assert absent is not None
        raise _cannot_listen(endpoint, absent) from absent
    return sockets


def is_wildcard(sock: socket.socket) -> bool:
    """Whether the socket is bound to every interface."""
    return ipaddress.ip_address(sock.getsockname()[0]).is_unspecified


def actual_endpoint(endpoint: str, sockets: list[socket.socket]) -> str:
    """Return where callers reach the sockets of `endpoint`."""
    return reached_at(endpoint, sockets[0].getsockname()[1])


def close_all(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Or the wildcard address of IPv6 would take IPv4's too.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _cannot_listen(endpoint: str, error: OSError) -> StartError:
    number = error.errno or 0
    return StartError(f"cannot listen on {endpoint}: {os.strerror(number).lower()}{_HINTS.get(number, '')}")
