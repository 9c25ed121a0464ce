"""What both programs of these tests are told about: wishes made now, for real clocks."""

import time
from typing import Any

from node.app import Node
from protocol.gossip import Statistics
from protocol.intent import Intent
from protocol.message import Message
from tests.protocol.people import person, wish

TOPIC = "intentcast/1/test/intent/mobility"
HANGS = 60.0
"""Seconds after which a test hangs. The slowest takes 5, and 15 on a machine that does three other things."""


def wish_of(author: str, **head: Any) -> Message:
    """A wish of somebody, made now."""
    now = int(time.time())
    who = person(author)
    body = Intent(action="rent", category="mobility.car", title=f"A car for {author}", box=who.box.public)
    return wish(who, body, **{"at": now, "exp": now + 3600, **head})


def router(node: Node) -> Statistics:
    found = node.gossip.statistics()["router"]
    assert isinstance(found, Statistics)
    return found
