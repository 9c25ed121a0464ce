"""What a node knew when it stopped: wishes, threads and the board, rebuilt from the store.

Threads are replayed in the order and at the times they were stored: messages, and what time ended between them. Every
frame is opened and judged again, and what does not pass is left out and logged. What was verified before it was stored,
and still is what its id says, is not verified again: that would be two thirds of the time. But our own wishes are, for
we say them again.
"""

from collections import deque
from dataclasses import dataclass

import structlog

from protocol.board import Board
from protocol.envelope import Realm, open_frame, recall_frame
from protocol.errors import Refused
from protocol.exchange import Side, Thread
from protocol.intent import Intent, division_of
from protocol.keys import BoxKey, SigningKey
from protocol.kinds import KINDS
from protocol.message import Message, believe
from protocol.terms import Money

from .store import StoredMessage, ThreadRow, Tx, WishRow
from .threads import End, LiveThread, Threads, keep_expired, keep_posted
from .trouble import refused
from .wish import Wish, opened_name, read_opened

log = structlog.get_logger("restore")

_EXPIRED_ARE_TOLD = "expired_are_told"
"""Set by the step to schema 5: until then nobody kept what time had ended, and most of it was told of long ago."""


@dataclass(frozen=True, slots=True)
class Restored:
    wishes: list[Wish]
    kept_back: set[bytes]
    """Ids of postings that are stored and not believed at this hour."""


def restore(
    tx: Tx, net: str, now: int, certain: int, board: Board, threads: Threads, vendor_key: SigningKey
) -> Restored:
    """Fill the board and the threads. Deletes nothing, and ends nothing before an hour that is `certain`: a wrong clock
    at one start must not.

    Raises Trouble for a store of another network.
    """
    _check_net(tx, net)
    kept_back = {
        row.id for row in tx.postings() if not board.restore(row.frame, row.division, row.via, held=row.held, now=now)
    }
    boxes = {public: BoxKey(secret) for public, secret, _, _ in tx.boxes()}
    messages: dict[bytes, list[tuple[StoredMessage, Message]]] = {}
    for stored in tx.messages():
        message = _reopen(stored, net)
        if message is not None:
            messages.setdefault(stored.root, []).append((stored, message))
    wishes = []
    for wish_row in tx.wishes():
        frames = [message for stored, message in messages.get(wish_row.root, ()) if stored.thread is None]
        wish = _wish(wish_row, boxes, frames)
        if wish is not None:
            wishes.append(wish)
            threads.add_end(wish.end)
            board.pinned.add(wish_row.author)
    ends = {wish.root: wish.end for wish in wishes}
    openings: dict[bytes, tuple[int, int]] = {}
    for wish in wishes:
        opened = tx.get_meta(opened_name(wish.root))
        if opened is not None:
            openings[wish.root] = read_opened(opened)
            wish.opened = openings[wish.root][0]
    expired = tx.expired()
    are_told = tx.get_meta(_EXPIRED_ARE_TOLD) is not None
    for thread_row in tx.threads():
        live = _thread(thread_row, ends, boxes, vendor_key)
        opening = openings.get(live.root) if live.side is Side.REQUESTER else None
        said = [one for one in messages.get(live.root, ()) if one[0].thread in (None, live.id)]
        _replay(live, said, expired.get(live.id, []), opening)
        if are_told:
            keep_expired(tx, live, live.thread.tick(certain))
        threads.add(live)
        threads.add_end(live.end)
        if live.side is Side.VENDOR:
            keep_posted(board, live)
    tx.drop_meta(_EXPIRED_ARE_TOLD)
    return Restored(wishes, kept_back)


def _replay(
    live: LiveThread,
    said: list[tuple[StoredMessage, Message]],
    expired: list[tuple[int, bytes]],
    opening: tuple[int, int] | None,
) -> None:
    """All that moved it, in its order: messages, what time ended between them, and the opening of a wish that collects
    its offers. Clocks may have gone back meanwhile, so no hour tells what was first."""
    ended = deque(expired)
    for stored, message in said:
        while ended and ended[0][0] < stored.n:
            live.thread.expire(ended.popleft()[1])
        live.thread.opened = opening[0] if opening is not None and opening[1] < stored.n else None
        live.thread.add(message, stored.stored_at)
        if message.author == live.other:
            live.count(message)
            live.learn_route(message, None)
    for _, offer in ended:
        live.thread.expire(offer)
    live.thread.opened = opening[0] if opening is not None else None


def _check_net(tx: Tx, net: str) -> None:
    """A home lives in one network for good: its wishes, threads and board mean nothing in another."""
    found = tx.get_meta("net")
    if found is None:
        tx.put_meta("net", net)
    elif found != net:
        raise refused(
            "other_net",
            f"this home belongs to the network {found}, not to {net}",
            f"Start it with --net {found}, or give {net} a home of its own with --home.",
        )


def _reopen(stored: StoredMessage, net: str) -> Message | None:
    kind = KINDS.get(stored.kind)
    realm = kind.realm if kind is not None else Realm.DIRECT
    try:
        if stored.mine and realm is Realm.GOSSIP:
            return believe(open_frame(stored.frame, realm, net))  # a bad signature would be held against us
        return believe(recall_frame(stored.frame, stored.id, realm, net))
    except Refused as refused:
        log.error("a stored message is not believed any more", kind=stored.kind, reason=refused.reason.value)
        return None


def _wish(row: WishRow, boxes: dict[bytes, BoxKey], frames: list[Message]) -> Wish | None:
    revisions = [message for message in frames if isinstance(message.body, Intent)]
    if not revisions:
        return None
    revision = max(revisions, key=lambda message: message.head.seq)
    current = max(frames, key=lambda message: message.head.seq)
    assert isinstance(revision.body, Intent)
    box = boxes.get(revision.body.box)
    keys = (SigningKey(row.secret), box) if row.secret is not None and box is not None else None
    return Wish(
        end=End(row.author, revision.body.box, row.root, Side.REQUESTER, keys),
        division=division_of(revision.body.category),
        current=current,
        revision=revision,
        state=row.state,
        limit=_limit(row),
        published=row.published,
        created_at=row.created_at,
        last_exp=max(message.head.exp for message in frames),
        closed_at=row.closed_at,
    )


def _limit(row: WishRow) -> Money | None:
    if row.limit_minor is None or row.limit_currency is None:
        return None
    return Money(row.limit_minor, row.limit_currency)


def _thread(row: ThreadRow, ends: dict[bytes, End], boxes: dict[bytes, BoxKey], vendor_key: SigningKey) -> LiveThread:
    side = Side(row.side)
    if side is Side.REQUESTER:
        end = ends.get(row.root) or End(row.requester, row.box, row.root, side, None)
    else:
        box = boxes.get(row.box)
        ours = box is not None and row.vendor == vendor_key.public
        end = End(row.vendor, row.box, row.root, side, (vendor_key, box) if ours and box is not None else None)
    thread = Thread(row.root, row.requester, row.vendor, side)
    return LiveThread(row.id, thread, end, row.next_seq, row.next_n, row.peer, row.routes)
