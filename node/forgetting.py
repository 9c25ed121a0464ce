"""What a node forgets in time: threads that came to nothing, and wishes that are long over. Contracts stay for good."""

from protocol.exchange import Side, State
from protocol.limits import MAX_LIFE, MAX_SKEW, THREAD_GRACE

from .delivery import Delivery
from .requester import Requester
from .store import Store, Tx
from .threads import LiveThread, Threads
from .vendor.role import VendorRole
from .wish import Wish, opened_name

WISH_KEPT = MAX_LIFE
"""Seconds a wish without a contract stays in its person's list after it closed."""


async def forget(
    threads: Threads, requester: Requester, vendor: VendorRole, delivery: Delivery, store: Store, now: int
) -> None:
    """Drop from memory and store what is over for long enough."""
    wishes = {wish.root: wish for wish in requester.wishes()}
    gone = [
        live
        for live in threads
        if not live.lock.locked()
        and delivery.is_idle(live.id)
        and not has_contract(live)
        and _is_old(live, wishes, now)
    ]
    for live in gone:
        threads.remove(live)
        if live.side is Side.VENDOR:
            vendor.forget(live)
    over = [wish for wish in wishes.values() if _is_old_wish(wish, now) and not threads.of_root(wish.root)]
    for wish in over:
        requester.forget(wish)
    vendor.forget_passed()
    if not gone and not over:
        return

    def work(tx: Tx) -> None:
        tx.drop_threads([live.id for live in gone])
        for wish in over:
            tx.drop_wish(wish.root)
            tx.drop_meta(opened_name(wish.root))

    await store.transact(work)


def has_contract(live: LiveThread) -> bool:
    return any(talk.state is State.CONFIRMED for talk in live.thread.talks.values())


def _is_old(live: LiveThread, wishes: dict[bytes, Wish], now: int) -> bool:
    if live.thread.live is not None:
        return False
    if live.side is Side.REQUESTER:
        wish = wishes.get(live.root)
        return wish is not None and _is_old_wish(wish, now)
    if live.end.keys is not None:
        return False
    return now > max((talk.offer.head.exp for talk in live.thread.talks.values()), default=0) + THREAD_GRACE


def _is_old_wish(wish: Wish, now: int) -> bool:
    """Closed, its keys deleted, and its tombstone gone from every board."""
    closed = wish.closed_at
    return closed is not None and wish.end.keys is None and now > max(closed + WISH_KEPT, wish.last_exp + MAX_SKEW)
