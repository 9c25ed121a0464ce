"""Noise after its handshake: many messages sealed or opened in one go, without a task or a copy between.

The handshake is libp2p's. What follows it is simple (a length, a ChaCha20-Poly1305 box, a counter), and done by
libp2p's layers it costs two reads and eleven calls for every message.
Spec: https://github.com/libp2p/specs/blob/master/noise/README.md
"""

from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from libp2p.io.exceptions import ConnectionClosedError

from node.network.libp2p_tcp import Pipe

PLAIN_BYTES = 65_519  # a message has 65,535 with its tag


class SealedPipe:
    """The encrypted connection: bytes in and out, and who is at the other end."""

    def __init__(self, pipe: Pipe, session: Any) -> None:
        """`session` is what libp2p's handshake over this pipe gave, unused so far."""
        self.pipe = pipe
        self.peer = str(session.get_remote_peer())
        keys = session.conn.noise_state.noise_protocol
        self._seal = ChaCha20Poly1305(keys.cipher_state_encrypt.k).encrypt
        self._open = ChaCha20Poly1305(keys.cipher_state_decrypt.k).decrypt
        self._sealed = keys.cipher_state_encrypt.n
        self._opened = keys.cipher_state_decrypt.n
        self._cut = b""  # the beginning of a message
        self._plain = b""  # opened, and not asked for yet

    def send(self, data: bytes) -> None:
        """Seal and hand over, without waiting. Raises ConnectionClosedError."""
        if len(data) <= PLAIN_BYTES:
            self.pipe.send(self._message(data))
        else:
            chunks = (data[at : at + PLAIN_BYTES] for at in range(0, len(data), PLAIN_BYTES))
            self.pipe.send(b"".join([self._message(chunk) for chunk in chunks]))

    def _message(self, data: bytes) -> bytes:
        sealed = self._seal(b"\0\0\0\0" + self._sealed.to_bytes(8, "little"), data, None)
        self._sealed += 1
        return len(sealed).to_bytes(2, "big") + sealed

    async def receive(self) -> bytes:
        """What is there, at least a byte; b"" at the end. Raises ConnectionClosedError for what is not Noise.

        Cancelling loses nothing."""
        if self._plain:
            taken, self._plain = self._plain, b""
            return taken
        while data := await self.pipe.receive():
            if plain := self._unseal(data):
                return plain
        return b""

    def _unseal(self, data: bytes) -> bytes:
        if self._cut:
            data = self._cut + data
        size = len(data)
        found = []
        at = 0
        while size - at >= 2:
            end = at + 2 + (data[at] << 8 | data[at + 1])
            if end > size:
                break
            try:
                found.append(self._open(b"\0\0\0\0" + self._opened.to_bytes(8, "little"), data[at + 2 : end], None))
            except InvalidTag:
                raise ConnectionClosedError("a Noise message that does not open", transport="tcp") from None
            self._opened += 1
            at = end
        self._cut = data[at:] if at < size else b""
        return found[0] if len(found) == 1 else b"".join(found)

    # As a stream, for the negotiation of the muxer.

    async def send_all(self, data: bytes) -> None:
        self.send(data)
        await self.pipe.wait_not_full()

    async def receive_some(self, max_bytes: int) -> bytes:
        found = await self.receive()
        found, self._plain = found[:max_bytes], found[max_bytes:] + self._plain
        return found
