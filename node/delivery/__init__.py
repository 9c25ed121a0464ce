"""Direct messages: sealed items, signed acks, and an outbox that brings what was said to whoever it is for."""

from .delivery import MAX_HEARD, Delivery, Role
from .lines import ANSWERED_AT_ONCE, MAX_BAD_ITEMS, PROTOCOL, Line

__all__ = ["ANSWERED_AT_ONCE", "MAX_BAD_ITEMS", "MAX_HEARD", "PROTOCOL", "Delivery", "Line", "Role"]
