"""Where a node can be dialled: the body of an address record."""

from dataclasses import dataclass
from typing import Annotated

from .limits import MAX_ADDRESS_CHARS
from .schema import Many, Text


@dataclass(frozen=True, slots=True)
class NodeAddress:
    addrs: Annotated[tuple[str, ...], Many(4, least=1), Text(MAX_ADDRESS_CHARS, r"/[A-Za-z0-9:._/-]+")]
    """Multiaddrs without /p2p: the peer id is the signer's."""
    meeting: bool = False
    """This node joins every division and introduces others."""
