"""The vendor: answers from a catalogue, and what a program of one's own is written with.

from node.vendor import Vendor
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kit import Context, Deal, Decision, Decline, Quote, Vendor, Wish

__all__ = ["Context", "Deal", "Decision", "Decline", "Quote", "Vendor", "Wish"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: the node itself needs none of it."""
    if name in __all__:
        from . import kit

        return getattr(kit, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
