"""What was heard lately: ids, to know a copy from a message; and messages, to give to peers that ask.

Both forget by age and are bounded whatever comes in.
"""


class SeenIds:
    """A set of ids that forgets. Each is known for at least `ttl` seconds, and for less than twice that plus what two
    sweeps were late; unless more than `maximum` come in: then the older half is forgotten early, and `early` counts how
    often that happened.

    Two generations instead of a time per id: half the memory, and forgetting costs nothing.
    """

    __slots__ = ("_half", "_new", "_old", "_since", "_ttl", "early")

    def __init__(self, ttl: float, maximum: int) -> None:
        self._ttl = ttl
        self._half = max(1, maximum // 2)
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._since: float | None = None
        self.early = 0

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._new or message_id in self._old

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def add(self, message_id: bytes) -> None:
        """Known from now on. An id that is known already is not known for longer."""
        if message_id in self._old:
            return
        if len(self._new) >= self._half and message_id not in self._new:
            self._turn()
            self.early += 1
        self._new.add(message_id)

    def sweep(self, now: float) -> None:
        """Forget. To be called now and then; a late call only makes for a longer memory."""
        if self._since is None:
            self._since = now
        elif now - self._since >= self._ttl:
            self._turn()
            self._since = now

    def _turn(self) -> None:
        self._old = self._new
        self._new = set()


class CachedMessage:
    """A message that can be asked for: its piece of an RPC, and how often each peer was given it."""

    __slots__ = ("message_id", "served", "topic", "wire")

    def __init__(self, message_id: bytes, topic: str, wire: bytes) -> None:
        self.message_id = message_id
        self.topic = topic
        self.wire = wire
        self.served: dict[str, int] | None = None  # most messages are never asked for


class MessageCache:
    """The messages of the last `length` heartbeats, at most `max_bytes` of them; the oldest go first."""

    __slots__ = ("_bytes", "_gossip", "_max_bytes", "_messages", "_windows", "evicted")

    def __init__(self, length: int, gossip: int, max_bytes: int) -> None:
        self._gossip = gossip
        self._max_bytes = max_bytes
        self._messages: dict[bytes, CachedMessage] = {}  # oldest first
        self._windows: list[dict[bytes, CachedMessage]] = [{} for _ in range(length)]  # newest first
        self._bytes = 0
        self.evicted = 0
        """Messages dropped for want of room rather than for age."""

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        return self._bytes

    def put(self, message_id: bytes, topic: str, wire: bytes) -> None:
        """Keep a message from now on. One that is kept already starts anew: its author repeated it."""
        if message_id in self._messages:
            self._drop(message_id)
        message = CachedMessage(message_id, topic, wire)
        self._messages[message_id] = message
        self._windows[0][message_id] = message
        self._bytes += len(wire)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._messages)))
            self.evicted += 1

    def get(self, message_id: bytes) -> CachedMessage | None:
        return self._messages.get(message_id)

    def gossip_ids(self) -> dict[str, list[bytes]]:
        """The ids that are spoken about, by topic, newest heartbeat first."""
        ids: dict[str, list[bytes]] = {}
        for window in self._windows[: self._gossip]:
            for message in window.values():
                known = ids.get(message.topic)
                if known is None:
                    ids[message.topic] = [message.message_id]
                else:
                    known.append(message.message_id)
        return ids

    def shift(self) -> None:
        """A heartbeat has passed."""
        for message in self._windows.pop().values():
            del self._messages[message.message_id]
            self._bytes -= len(message.wire)
        self._windows.insert(0, {})

    def _drop(self, message_id: bytes) -> None:
        message = self._messages.pop(message_id)
        self._bytes -= len(message.wire)
        for window in reversed(self._windows):
            if window.pop(message_id, None) is not None:
                break
