"""What waits for one peer, and in which order it leaves.

Subscriptions and control first: they are small, and a mesh that is late is a mesh that fails. Own messages next, those
of others last. Each class is bounded; what does not fit is dropped and counted by the caller, who is told. A slow
peer holds references to bytes that others share, so it costs itself and nobody else.
"""

from itertools import islice
from typing import Final

from .params import Params
from .rpc import (
    MAX_MESSAGES,
    MAX_SUBSCRIPTIONS,
    encode_control,
    encode_graft,
    encode_iwant,
    encode_prune,
    encode_subscription,
)

_CONTROL_HEAD: Final = 4
"""Bytes around all control of one RPC: the tag and a length of at most three digits."""
_NEWEST: Final = 16
"""Among so many a message is looked for to be withdrawn: the queue of a peer that does not read may have thousands."""
_GRAFT: Final = -1
"""A GRAFT where otherwise the back-off of a PRUNE stands."""


class Outbox:
    """The queue to one peer. Every `put` says whether there was room."""

    __slots__ = (
        "_forwarded",
        "_forwarded_bytes",
        "_grafts",
        "_ihave",
        "_iwant",
        "_own",
        "_own_bytes",
        "_params",
        "_subscriptions",
    )

    def __init__(self, params: Params) -> None:
        self._params = params
        self._subscriptions: dict[str, bool] = {}  # where the peer's picture of us is not what we are
        self._grafts: dict[str, int | None] = {}
        self._iwant: dict[bytes, None] = {}
        self._ihave: dict[str, bytes] = {}
        self._own: list[bytes] = []
        self._own_bytes = 0
        self._forwarded: list[bytes] = []
        self._forwarded_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._forwarded or self._own or self._grafts or self._ihave or self._iwant or self._subscriptions)

    @property
    def size(self) -> int:
        """Bytes of the messages that wait."""
        return self._own_bytes + self._forwarded_bytes

    # ---------------------------------------------------------------------------------------------------- putting

    def put_subscription(self, topic: str, subscribe: bool) -> None:
        """We joined or left. Bounded by the topics we are in: two changes that the peer has not seen are none."""
        if self._subscriptions.get(topic, subscribe) != subscribe:
            del self._subscriptions[topic]
        else:
            self._subscriptions[topic] = subscribe

    def put_graft(self, topic: str) -> bool:
        return self._put_graft_or_prune(topic, _GRAFT)

    def put_prune(self, topic: str, backoff: int | None) -> bool:
        """`backoff` in seconds; None says none."""
        return self._put_graft_or_prune(topic, backoff)

    def _put_graft_or_prune(self, topic: str, what: int | None) -> bool:
        if topic not in self._grafts and len(self._grafts) >= self._params.control_queue:
            return False
        self._grafts[topic] = what  # the newest word counts
        return True

    def put_iwant(self, ids: list[bytes]) -> None:
        """Bounded by the ids the router waits for from one peer (`Params.max_asked`): it withdraws what is overdue."""
        for message_id in ids:
            self._iwant[message_id] = None

    def withdraw_iwant(self, message_id: bytes) -> bool:
        """Do not ask any more. False: it was asked already."""
        if message_id not in self._iwant:
            return False
        del self._iwant[message_id]
        return True

    def put_ihave(self, topic: str, piece: bytes) -> None:
        """`piece` is the encoded IHAVE, made once for all peers. It replaces one that still waits: the newer one
        speaks of all that is still to be had."""
        self._ihave[topic] = piece

    def put_own(self, wire: bytes) -> bool:
        if self._own_bytes + len(wire) > self._params.own_queue_bytes:
            return False
        self._own.append(wire)
        self._own_bytes += len(wire)
        return True

    def put_forwarded(self, wire: bytes) -> bool:
        """Messages of others, also those the peer asked for."""
        if self._forwarded_bytes + len(wire) > self._params.forward_queue_bytes:
            return False
        self._forwarded.append(wire)
        self._forwarded_bytes += len(wire)
        return True

    def withdraw_forwarded(self, wire: bytes) -> bool:
        """Do not pass on what the peer has: it just sent us the same. False: it waits no more, or not at the end."""
        waiting = self._forwarded
        for place in range(len(waiting) - 1, max(0, len(waiting) - _NEWEST) - 1, -1):
            if waiting[place] is wire:
                del waiting[place]
                self._forwarded_bytes -= len(wire)
                return True
        return False

    # ----------------------------------------------------------------------------------------------------- taking

    def next_rpc(self) -> bytes | None:
        """Takes out as much as one RPC may hold. None: nothing waits."""
        if not self:
            return None
        if len(self._forwarded) == 1 and not (
            self._own or self._grafts or self._ihave or self._iwant or self._subscriptions
        ):
            self._forwarded_bytes = 0
            return self._forwarded.pop()  # by far the most frequent case: the shared bytes are the RPC
        room = self._params.max_rpc_bytes
        pieces: list[bytes] = []
        if self._subscriptions or self._grafts or self._iwant or self._ihave:
            room = self._take_control(pieces, room)
        room, taken = _take(self._own, pieces, room, MAX_MESSAGES)
        self._own_bytes -= sum([len(wire) for wire in pieces[len(pieces) - taken :]])
        if not self._own and self._forwarded:
            _, taken = _take(self._forwarded, pieces, room, MAX_MESSAGES - taken)
            self._forwarded_bytes -= sum([len(wire) for wire in pieces[len(pieces) - taken :]])
        return b"".join(pieces)

    def _take_control(self, pieces: list[bytes], room: int) -> int:
        """Subscriptions and control, as far as they fit; gives the room that is left. The queues are so bounded (see
        Params) that the number of control entries and ids stays within what others accept."""
        taken = 0
        for topic, subscribe in list(self._subscriptions.items()):
            piece = encode_subscription(topic, subscribe)
            if len(piece) > room or taken == MAX_SUBSCRIPTIONS:
                return room
            del self._subscriptions[topic]
            pieces.append(piece)
            room -= len(piece)
            taken += 1

        control: list[bytes] = []
        room -= _CONTROL_HEAD
        for topic, what in list(self._grafts.items()):
            piece = encode_graft(topic) if what == _GRAFT else encode_prune(topic, what)
            if len(piece) > room:
                break
            del self._grafts[topic]
            control.append(piece)
            room -= len(piece)
        if self._iwant and room > 128:
            some = list(islice(self._iwant, (room - 8) // 22))
            for message_id in some:
                del self._iwant[message_id]
            control.append(encode_iwant(some))
            room -= len(control[-1])
        for topic, piece in list(self._ihave.items()):
            if len(piece) > room:
                break
            del self._ihave[topic]
            control.append(piece)
            room -= len(piece)
        if not control:
            return room + _CONTROL_HEAD
        pieces.append(encode_control(control))
        return room


def _take(queue: list[bytes], pieces: list[bytes], room: int, most: int) -> tuple[int, int]:
    """Moves from the front of a queue what fits; gives the room that is left and how many were moved."""
    taken = 0
    for wire in queue:
        if len(wire) > room or taken == most:
            break
        room -= len(wire)
        taken += 1
    pieces += queue[:taken]
    del queue[:taken]
    return room, taken
