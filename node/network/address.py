"""Addresses: the part of multiaddr that we speak, `/<kind>/<host>/tcp/<port>[/p2p/<peer id>]`.

Kinds are ip4, ip6, dns, dns4 and dns6. Everything here is text and numbers; nothing is resolved or dialled.
"""

import ipaddress
import re
from dataclasses import dataclass

from protocol.keys import key_of_peer_id

_IP_VERSIONS = {"ip4": 4, "ip6": 6}
_KINDS = (*_IP_VERSIONS, "dns", "dns4", "dns6")
_MAX_LENGTH = 300  # as an invite's: a name has at most 253 characters
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


@dataclass(frozen=True)
class TcpAddress:
    """Where to listen or dial, and, if it was said, whom to expect there."""

    kind: str
    host: str
    port: int
    peer: str | None = None

    @property
    def is_name(self) -> bool:
        return self.kind not in _IP_VERSIONS

    @property
    def is_unspecified(self) -> bool:
        """0.0.0.0 or ::, "every interface of this machine": good to listen on, useless to others."""
        return not self.is_name and ipaddress.ip_address(self.host).is_unspecified

    @property
    def transport(self) -> str:
        """The address without the peer id."""
        return f"/{self.kind}/{self.host}/tcp/{self.port}"

    def __str__(self) -> str:
        return self.transport if self.peer is None else f"{self.transport}/p2p/{self.peer}"


def parse_address(text: str) -> TcpAddress:
    """Raises ValueError with a sentence for people."""
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the address is longer than {_MAX_LENGTH} characters")
    parts = text.split("/")
    if len(parts) not in (5, 7) or parts[0] != "" or parts[3] != "tcp" or (len(parts) == 7 and parts[5] != "p2p"):
        raise ValueError(f"{text!r} is not like /ip4/203.0.113.7/tcp/4001 or /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW...")
    kind, host, port = parts[1], parts[2], parts[4]
    if kind not in _KINDS:
        raise ValueError(f"{text!r} begins with {kind!r}; known are {', '.join(_KINDS)}")
    if kind in _IP_VERSIONS:
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError(f"{host!r} in {text!r} is not an IP address") from None
        if ipaddress.ip_address(host).version != _IP_VERSIONS[kind] or "%" in host:
            raise ValueError(f"{host!r} in {text!r} is not an {kind} address")
    elif not _NAME.fullmatch(host):
        raise ValueError(f"{host!r} in {text!r} is not a host name")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ValueError(f"{port!r} in {text!r} is not a port")
    peer = parts[6] if len(parts) == 7 else None
    if peer is not None:
        try:
            key_of_peer_id(peer)
        except ValueError as error:
            raise ValueError(f"{peer!r} in {text!r}: {error}") from None
    return TcpAddress(kind, host, int(port), peer)


def parse_dialable(text: str) -> tuple[TcpAddress, str]:
    """An address and the peer expected there. Raises ValueError with a sentence for people."""
    address = parse_address(text)
    if address.peer is None:
        raise ValueError(f"{text!r} does not say who is expected there: it must end in /p2p/<peer id>")
    if address.port == 0 or address.is_unspecified:
        raise ValueError(f"{text!r} cannot be dialled: it is an address to listen on")
    return address, address.peer
