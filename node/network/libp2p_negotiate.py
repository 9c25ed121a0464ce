"""multistream-select, both sides, on a fresh stream: which protocol will be spoken on it.

libp2p's own costs the dialler three round trips, and its answering side grows the stream's receive window to 4 MiB
while it reads the question byte by byte. Every byte here may come from a stranger: lines and attempts are counted.
Spec: https://github.com/multiformats/multistream-select
"""

from collections.abc import Collection
from typing import Protocol

from node.network.seam import NotSpokenError, StreamError
from protocol.framing import frame_with_length

_MULTISTREAM = "/multistream/1.0.0"
_UNKNOWN = "na"
_LIST = "ls"
_MAX_LINE = 512  # bytes; protocol names have some twenty
_MAX_ATTEMPTS = 16  # a dialler that names more unknown protocols than this is guessing


class Negotiable(Protocol):
    """A stream, or a connection before it carries any."""

    @property
    def peer(self) -> str: ...

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self, max_bytes: int) -> bytes: ...


async def ask_for(stream: Negotiable, protocol: str) -> None:
    """The dialler's side, in one round trip: hello and wish leave together. Raises as `hear_answer`."""
    await stream.send_all(wish(protocol))
    await hear_answer(stream, protocol)


def wish(protocol: str) -> bytes:
    """What a dialler says. What it would say next may follow at once, if a refusal makes it worthless."""
    return _line(_MULTISTREAM) + _line(protocol)


async def hear_answer(stream: Negotiable, protocol: str) -> None:
    """The answer to `wish`, and not a byte more. Raises NotSpokenError for a refusal, StreamError for any other end."""
    refusal = _line(_MULTISTREAM) + _line(_UNKNOWN)
    agreement = wish(protocol)
    answer = b""
    while len(answer) < len(agreement):  # never a byte more: what follows belongs to the application
        received = await stream.receive_some(len(agreement) - len(answer))
        answer += received
        if answer == refusal:
            raise NotSpokenError(f"{stream.peer} does not speak {protocol}")
        if not received or not (agreement.startswith(answer) or refusal.startswith(answer)):
            raise StreamError(f"{stream.peer} gave no multistream answer to the wish to speak {protocol}")


async def agree_on(stream: Negotiable, spoken: Collection[str]) -> str:
    """The answering side: which of our protocols the peer wants. Raises StreamError, also when there is none."""
    await stream.send_all(_line(_MULTISTREAM))
    if await _receive_line(stream) != _MULTISTREAM:
        raise StreamError("the stream does not begin with multistream")
    for _ in range(_MAX_ATTEMPTS):
        wanted = await _receive_line(stream)
        if wanted in spoken:
            await stream.send_all(_line(wanted))
            return wanted
        await stream.send_all(_line("".join(f"{each}\n" for each in spoken) if wanted == _LIST else _UNKNOWN))
    raise StreamError("the peer wants nothing that we speak")


def _line(text: str) -> bytes:
    return frame_with_length(text.encode() + b"\n")


async def _receive_line(stream: Negotiable) -> str:
    length = shift = 0
    while True:
        byte = (await _receive_exactly(stream, 1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
        if shift > 14:
            raise StreamError("a multistream line is too long")
    if not 0 < length <= _MAX_LINE:
        raise StreamError("a multistream line is too long, or empty")
    line = await _receive_exactly(stream, length)
    if not line.endswith(b"\n") or not line.isascii():
        raise StreamError("not a multistream line")
    return line[:-1].decode("ascii")


async def _receive_exactly(stream: Negotiable, count: int) -> bytes:
    received = b""
    while len(received) < count:
        more = await stream.receive_some(count - len(received))
        if not more:
            raise StreamError("the stream ended before a protocol was agreed on")
        received += more
    return received
