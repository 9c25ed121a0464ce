"""Where a peer was seen. An address is no identity, but addresses in a row have one owner more often than not."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple, TypeAlias


class Place(NamedTuple):
    host: str
    """One machine, or one home: an IPv4 address, an IPv6 /64. Empty: does not count."""
    subnet: str
    """One landlord: IPv4 /24, IPv6 /48. Empty: does not count."""


NOWHERE: Final = Place("", "")

Locate: TypeAlias = Callable[[str], Place]
"""The text of an address -> its place. Pure."""


def public_place(ip: str) -> Place:
    """The place of a public address; NOWHERE for any other: in a home, an office or a test everybody is a neighbour."""
    address = _parse(ip)
    return _place(address) if address is not None and address.is_global else NOWHERE


def any_place(ip: str) -> Place:
    """The place of any address, private ones too. For tests with 127.x, and for networks that own their ranges."""
    address = _parse(ip)
    return _place(address) if address is not None else NOWHERE


def _parse(ip: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _place(address: IPv4Address | IPv6Address) -> Place:
    if isinstance(address, IPv4Address):
        return Place(str(address), str(ip_network((address, 24), strict=False)))
    plain = int(address)  # without the scope of a link-local address
    return Place(str(ip_network((plain, 64), strict=False)), str(ip_network((plain, 48), strict=False)))
