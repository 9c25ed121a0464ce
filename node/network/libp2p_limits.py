"""How much of us a stranger may use."""

from dataclasses import dataclass

from node.network.places import GRACE_SECONDS


@dataclass(frozen=True)
class NetLimits:
    """Times in seconds, all others counts."""

    connections: int = 160  # a mesh of degree 12 and leaves around it; each costs about 0.04 MB
    kept_for_dials: int = 32  # of those, for links of our own choosing; a fifth at most
    inbound_per_address: int = 8  # live or under way, from one public IPv4 address or IPv6 /64
    inbound_per_subnet: int = 32  # the same from one IPv4 /24 or IPv6 /48
    connections_per_peer: int = 2  # two peers that dial each other at once make two; the newest are kept
    handshakes: int = 64  # under way at once, from everybody
    handshakes_per_address: int = 8  # under way at once from one public address
    cap_private_addresses: bool = False  # a LAN or a test mesh shares few addresses, and is trusted more
    streams_per_peer: int = 256  # as many as yamux lets either side open
    grace_seconds: float = GRACE_SECONDS  # after it a link may have to make room for a newcomer; see places.py
    handshake_seconds: float = 10.0
    dial_seconds: float = 10.0
    negotiate_seconds: float = 10.0
    health_seconds: float = 20.0  # a link that was silent for so long is asked for a sign of life
    ping_seconds: float = 5.0  # and dropped without one in this time
    close_seconds: float = 5.0
