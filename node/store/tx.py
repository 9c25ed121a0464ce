"""What can be done inside a transaction, by subject. Plain rows in, plain rows out; no decisions are made here."""

import json
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t
from .foreign import HEARD_EVENTS, sizes
from .mail import Mail

KEEP_EVENTS, KEEP_HEARD_EVENTS = 10_000, 10_000
"""Our own, and those that only tell what others did: a flood of the latter drives out none of the former."""
KEEP_ENDED = 500
"""Wishes of others that are over: what fits on a few screens."""


@dataclass(frozen=True, slots=True)
class WishRow:
    root: bytes
    author: bytes
    division: str
    state: str
    secret: bytes | None
    limit_minor: int | None
    limit_currency: str | None
    published: bool
    created_at: int
    closed_at: int | None


@dataclass(frozen=True, slots=True)
class ThreadRow:
    id: bytes
    root: bytes
    requester: bytes
    vendor: bytes
    side: str
    box: bytes
    next_seq: int
    next_n: int
    peer: str | None
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    n: int
    id: bytes
    root: bytes
    thread: bytes | None
    mine: bool
    kind: str
    stored_at: int
    frame: bytes
    digest: bytes | None
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    id: bytes
    thread: bytes
    kind: str
    item: bytes
    exp: int
    state: str
    reason: str | None
    queued_at: int
    settled_at: int | None


@dataclass(frozen=True, slots=True)
class DepositRow:
    """A message of ours at a mailbox of its receiver's."""

    message: bytes
    thread: bytes
    mailbox: str
    """The mailbox's address."""
    state: str
    at: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer a message of somebody else's got."""

    thread: bytes
    answer: bytes
    """The sealed ack or problem, byte for byte."""


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """What a vendor made of one revision of a wish."""

    revision: bytes
    vendor: bytes
    offer: bytes | None
    """None: looked at and passed over."""
    why: str
    item: str | None
    """Of the catalogue; None for an offer by hand."""
    count: int


@dataclass(frozen=True, slots=True)
class HoldRow:
    """So many of an item, promised to an accept. Instants are seconds UTC."""

    accept: bytes
    item: str
    count: int
    until: int
    """When it lapses, unless it is confirmed."""
    confirmed: bool
    at: int = 0
    """When it was made."""
    start: int | None = None
    """The time it is for; None: for good, as what is sold."""
    end: int | None = None


@dataclass(frozen=True, slots=True)
class HookRow:
    """Where a vendor's own systems are told what happens."""

    id: str
    url: str
    events: str
    secrets: str
    allow_private: bool
    state: str
    since: int
    created_at: int

    def changed(self, **values: Any) -> "HookRow":
        return replace(self, **values)


@dataclass(frozen=True, slots=True)
class SendRow:
    """One thing a hook is told."""

    id: str
    hook: str
    type: str
    body: str
    tries: int
    due: int
    state: str
    why: str | None
    at: int

    def changed(self, **values: Any) -> "SendRow":
        return replace(self, **values)


@dataclass(frozen=True, slots=True)
class PostingRow:
    id: bytes
    division: str
    exp: int
    via: str
    held: bool
    frame: bytes


class Tx:
    def __init__(self, connection: Connection) -> None:
        self._db = connection
        self.mail = Mail(connection)

    # ---------------------------------------------------------------------------------------------------- wishes

    def put_wish(self, row: WishRow) -> None:
        values = {name: getattr(row, name) for name in WishRow.__slots__}
        self._db.execute(upsert(t.wishes).values(values).on_conflict_do_update(index_elements=["root"], set_=values))

    def wishes(self) -> list[WishRow]:
        rows = self._db.execute(select(t.wishes).order_by(t.wishes.c.created_at)).all()
        return [WishRow(**row._mapping) for row in rows]

    # ---------------------------------------------------------------------------------------------------- boxes

    def put_box(self, public: bytes, secret: bytes, root: bytes, side: str, now: int) -> None:
        row = {"public": public, "secret": secret, "root": root, "side": side, "created_at": now}
        self._db.execute(insert(t.boxes).values(row))

    def boxes(self) -> list[tuple[bytes, bytes, bytes, str]]:
        """(public, secret, root, side) of all."""
        columns = (t.boxes.c.public, t.boxes.c.secret, t.boxes.c.root, t.boxes.c.side)
        return [(row[0], row[1], row[2], row[3]) for row in self._db.execute(select(*columns))]

    def forget_keys(self, box: bytes, author: bytes | None) -> None:
        """Delete the secret of a box, and of the own wish by this author. secure_delete overwrites them in the file;
        the WAL is cut by Store.checkpoint."""
        self._db.execute(delete(t.boxes).where(t.boxes.c.public == box))
        if author is not None:
            self._db.execute(update(t.wishes).where(t.wishes.c.author == author).values(secret=None))

    # -------------------------------------------------------------------------------------------------- threads

    def put_thread(self, row: ThreadRow) -> None:
        values: dict[str, Any] = {name: getattr(row, name) for name in ThreadRow.__slots__}
        values["routes"] = "\n".join(row.routes)
        self._db.execute(upsert(t.threads).values(values).on_conflict_do_update(index_elements=["id"], set_=values))

    def threads(self) -> list[ThreadRow]:
        return [
            ThreadRow(**{**row._mapping, "routes": tuple(filter(None, row.routes.split("\n")))})
            for row in self._db.execute(select(t.threads))
        ]

    def put_expired(self, offer: bytes, thread: bytes) -> None:
        """Time alone ended this offer, or its accept, after all that is stored by now."""
        row = {"offer": offer, "thread": thread, "after": self.last_message()}
        self._db.execute(upsert(t.expired).values(row).on_conflict_do_nothing())

    def expired(self) -> dict[bytes, list[tuple[int, bytes]]]:
        """Thread -> (number of the last message before, offer) of what time ended in it."""
        found: dict[bytes, list[tuple[int, bytes]]] = {}
        for offer, thread, after in self._db.execute(select(t.expired).order_by(t.expired.c.after)):
            found.setdefault(thread, []).append((after, offer))
        return found

    def drop_threads(self, ids: list[bytes]) -> None:
        """Forget threads, all that was said in them, and the wishes of others that nothing else is known about."""
        for start in range(0, len(ids), 500):  # SQLite takes a bounded number of values in one statement
            some = ids[start : start + 500]
            roots = set(self._db.execute(select(t.threads.c.root).where(t.threads.c.id.in_(some))).scalars())
            self._db.execute(delete(t.threads).where(t.threads.c.id.in_(some)))
            self._db.execute(delete(t.expired).where(t.expired.c.thread.in_(some)))
            self._db.execute(delete(t.outbox).where(t.outbox.c.thread.in_(some)))
            self._db.execute(delete(t.deposits).where(t.deposits.c.thread.in_(some)))
            for root in roots:
                said = t.messages.c.root == root
                offers = select(t.messages.c.id).where(
                    said, t.messages.c.thread.in_(some), t.messages.c.kind == "offer"
                )
                contacts = [f"contact:{offer.hex()}" for offer in self._db.execute(offers).scalars()]
                self._db.execute(delete(t.meta).where(t.meta.c.name.in_(contacts[:500])))
                self._db.execute(delete(t.messages).where(said, t.messages.c.thread.in_(some)))
                if not self._is_root_in_use(root):
                    self._db.execute(delete(t.messages).where(said))

    def drop_wish(self, root: bytes) -> None:
        """Forget an own wish whose threads are dropped already. What was disclosed to whom stays on record."""
        self._db.execute(delete(t.wishes).where(t.wishes.c.root == root))
        if not self._is_root_in_use(root):
            self._db.execute(delete(t.messages).where(t.messages.c.root == root))

    def _is_root_in_use(self, root: bytes) -> bool:
        return any(
            self._db.execute(select(table.c.root).where(table.c.root == root).limit(1)).first() is not None
            for table in (t.threads, t.wishes)
        )

    # ------------------------------------------------------------------------------------------------- messages

    def add_message(
        self,
        *,
        id: bytes,
        root: bytes,
        thread: bytes | None,
        mine: bool,
        kind: str,
        now: int,
        frame: bytes,
        digest: bytes | None = None,
        answer: bytes | None = None,
    ) -> None:
        """Store a message once; storing it again does nothing."""
        values = {
            "id": id,
            "root": root,
            "thread": thread,
            "mine": mine,
            "kind": kind,
            "stored_at": now,
            "frame": frame,
            "digest": digest,
            "answer": answer,
        }
        self._db.execute(upsert(t.messages).values(values).on_conflict_do_nothing())

    def messages(self, root: bytes | None = None) -> list[StoredMessage]:
        """In the order they were stored."""
        query = select(t.messages).order_by(t.messages.c.n)
        if root is not None:
            query = query.where(t.messages.c.root == root)
        return [StoredMessage(**row._mapping) for row in self._db.execute(query)]

    def messages_after(self, n: int, most: int) -> list[StoredMessage]:
        """In the order they were stored."""
        query = select(t.messages).where(t.messages.c.n > n).order_by(t.messages.c.n).limit(most)
        return [StoredMessage(**row._mapping) for row in self._db.execute(query)]

    def message_roots(self) -> list[bytes]:
        """Of everything that is stored, the oldest first."""
        query = select(t.messages.c.root).group_by(t.messages.c.root).order_by(func.min(t.messages.c.n))
        return list(self._db.execute(query).scalars())

    def last_message(self) -> int:
        """The number of the message stored last; 0 if there is none."""
        return int(self._db.execute(select(func.coalesce(func.max(t.messages.c.n), 0))).scalar_one())

    def message(self, id: bytes) -> StoredMessage | None:
        row = self._db.execute(select(t.messages).where(t.messages.c.id == id)).first()
        return None if row is None else StoredMessage(**row._mapping)

    def answer_to_item(self, digest: bytes) -> Answered | None:
        """What the message in this item got, if it was stored and is of a kind that gets an answer."""
        columns = (t.messages.c.thread, t.messages.c.answer)
        known = (t.messages.c.digest == digest) & t.messages.c.answer.is_not(None)
        row = self._db.execute(select(*columns).where(known)).first()
        return None if row is None else Answered(row[0], row[1])

    # --------------------------------------------------------------------------------------------------- outbox

    def queue(self, row: OutboxRow) -> None:
        """To be brought to the other party. What is queued again waits again."""
        values = {name: getattr(row, name) for name in OutboxRow.__slots__}
        again = {"state": row.state, "settled_at": None}
        self._db.execute(upsert(t.outbox).values(values).on_conflict_do_update(index_elements=["id"], set_=again))

    def unsettled(self) -> list[OutboxRow]:
        """In the order they were queued."""
        waiting = t.outbox.c.state == "QUEUED"
        query = select(t.outbox).where(waiting).order_by(t.outbox.c.queued_at, text("rowid"))
        return [OutboxRow(**row._mapping) for row in self._db.execute(query)]

    def outbox_of(self, thread: bytes) -> list[OutboxRow]:
        """All that was ever queued in a thread and needs an ack, in the order it was queued."""
        said = (t.outbox.c.thread == thread) & (t.outbox.c.kind != "ack")
        query = select(t.outbox).where(said).order_by(t.outbox.c.queued_at, text("rowid"))
        return [OutboxRow(**row._mapping) for row in self._db.execute(query)]

    def put_deposit(self, row: DepositRow) -> None:
        values = {name: getattr(row, name) for name in DepositRow.__slots__}
        changed = {"state": row.state, "at": row.at}
        statement = upsert(t.deposits).values(values)
        self._db.execute(statement.on_conflict_do_update(index_elements=["message", "mailbox"], set_=changed))

    def drop_deposit(self, message: bytes, mailbox: str) -> None:
        """It is not there any more."""
        self._db.execute(delete(t.deposits).where(t.deposits.c.message == message, t.deposits.c.mailbox == mailbox))

    def deposits(self, thread: bytes | None = None) -> list[DepositRow]:
        """Of one thread, or of all."""
        query = select(t.deposits)
        if thread is not None:
            query = query.where(t.deposits.c.thread == thread)
        return [DepositRow(**row._mapping) for row in self._db.execute(query)]

    def settle(self, id: bytes, thread: bytes, state: str, now: int, reason: str | None = None) -> bool:
        """How it ended, for good; only what was said in this thread, whoever claims to have it."""
        values = {"state": state, "reason": reason, "settled_at": now}
        mine = (t.outbox.c.id == id) & (t.outbox.c.thread == thread) & (t.outbox.c.state != "ACKED")
        return self._db.execute(update(t.outbox).where(mine).values(values)).rowcount == 1

    # ------------------------------------------------------------------------------------------------- answered

    def add_answered(self, row: AnsweredRow, now: int) -> bool:
        """Remember that this vendor has dealt with this revision. False if it had already."""
        values = {name: getattr(row, name) for name in AnsweredRow.__slots__} | {"at": now}
        done = self._db.execute(upsert(t.answered).values(values).on_conflict_do_nothing())
        return done.rowcount == 1

    def answered(self) -> list[AnsweredRow]:
        columns = [t.answered.c[name] for name in AnsweredRow.__slots__]
        return [AnsweredRow(**row._mapping) for row in self._db.execute(select(*columns))]

    def is_answered(self, revision: bytes) -> bool:
        """Was it decided about this revision?"""
        return (
            self._db.execute(select(t.answered.c.revision).where(t.answered.c.revision == revision)).first() is not None
        )

    def forget_answers(self, revisions: list[bytes]) -> None:
        """As if these had never been looked at."""
        for start in range(0, len(revisions), 500):
            some = t.answered.c.revision.in_(revisions[start : start + 500])
            self._db.execute(delete(t.answered).where(some, t.answered.c.offer.is_(None)))

    def drop_answered(self, before: int) -> None:
        """Forget how revisions were answered that nobody can have any more."""
        self._db.execute(delete(t.answered).where(t.answered.c.at < before))

    # ------------------------------------------------------------------------------------------------- postings

    def put_posting(self, row: PostingRow, replaces: bytes | None) -> bool:
        """False: it is there already."""
        if replaces is not None:
            self._db.execute(delete(t.postings).where(t.postings.c.id == replaces))
        values = {name: getattr(row, name) for name in PostingRow.__slots__}
        return self._db.execute(upsert(t.postings).values(values).on_conflict_do_nothing()).rowcount > 0

    def postings(self) -> list[PostingRow]:
        return [PostingRow(**row._mapping) for row in self._db.execute(select(t.postings))]

    def posting_lives(self) -> list[tuple[bytes, int]]:
        """(id, exp) of all."""
        return [(row[0], row[1]) for row in self._db.execute(select(t.postings.c.id, t.postings.c.exp))]

    def drop_postings(self, ids: list[bytes]) -> None:
        if ids:
            for start in range(0, len(ids), 500):  # SQLite takes a bounded number of values in one statement
                self._db.execute(delete(t.postings).where(t.postings.c.id.in_(ids[start : start + 500])))

    def add_ended(self, author: bytes, root: bytes, state: str, frame: bytes) -> None:
        """Keep a wish of somebody else for the record when it leaves the board."""
        self._db.execute(
            upsert(t.ended).values(author=author, root=root, state=state, frame=frame).on_conflict_do_nothing()
        )
        newest = select(func.max(t.ended.c.n)).scalar_subquery()
        self._db.execute(delete(t.ended).where(t.ended.c.n <= newest - KEEP_ENDED))

    def take_back_end(self, author: bytes, root: bytes, frame: bytes) -> bool:
        """It hangs on the board again: our clock was ahead when we took it down. True if it was over for us."""
        same = (t.ended.c.author == author) & (t.ended.c.root == root) & (t.ended.c.frame == frame)
        return self._db.execute(delete(t.ended).where(same, t.ended.c.state == "expired")).rowcount > 0

    def ended(self) -> list[tuple[str, bytes]]:
        """(state, frame), newest first."""
        return [
            (row[0], row[1])
            for row in self._db.execute(select(t.ended.c.state, t.ended.c.frame).order_by(t.ended.c.n.desc()))
        ]

    # ---------------------------------------------------------------------------------------------------- stock

    def holds(self) -> list[HoldRow]:
        columns = [t.holds.c[name] for name in HoldRow.__slots__]
        return [HoldRow(**row._mapping) for row in self._db.execute(select(*columns))]

    def release(self, accept: bytes) -> None:
        """The stock promised to an accept that came to nothing is free again."""
        self._db.execute(delete(t.holds).where(t.holds.c.accept == accept))
        self._db.execute(delete(t.takers).where(t.takers.c.accept == accept))

    def release_all(self, accepts: list[bytes]) -> None:
        for accept in accepts:
            self.release(accept)

    def hold(self, row: HoldRow) -> None:
        """The newer hold of an accept replaces its older one."""
        values = {name: getattr(row, name) for name in HoldRow.__slots__}
        self._db.execute(
            upsert(t.holds).values(values).on_conflict_do_update(index_elements=["accept", "item"], set_=values)
        )

    def taken(self, item: str, taker: str, since: int, besides: bytes) -> int:
        """How many of an item a peer or subnet took since then, with accepts other than `besides`."""
        ours = (t.takers.c.item == item) & (t.takers.c.taker == taker) & (t.takers.c.at > since)
        query = select(func.coalesce(func.sum(t.takers.c.count), 0)).where(ours, t.takers.c.accept != besides)
        return int(self._db.execute(query).scalar_one())

    def put_takers(self, accept: bytes, item: str, count: int, takers: list[str], now: int, since: int) -> None:
        """Note who took; what is older than `since` is forgotten."""
        self._db.execute(delete(t.takers).where(t.takers.c.at <= since))
        for taker in takers:
            row = {"accept": accept, "item": item, "taker": taker, "count": count, "at": now}
            self._db.execute(upsert(t.takers).values(row).on_conflict_do_nothing())

    # ---------------------------------------------------------------------------------------------------- hooks

    def hooks(self) -> list[HookRow]:
        return [HookRow(**row._mapping) for row in self._db.execute(select(t.hooks).order_by(t.hooks.c.created_at))]

    def put_hook(self, row: HookRow) -> None:
        values = {name: getattr(row, name) for name in HookRow.__slots__}
        self._db.execute(upsert(t.hooks).values(values).on_conflict_do_update(index_elements=["id"], set_=values))

    def drop_hook(self, id: str) -> bool:
        """With all it was to be told. False if there is none."""
        self._db.execute(delete(t.hook_sends).where(t.hook_sends.c.hook == id))
        return self._db.execute(delete(t.hooks).where(t.hooks.c.id == id)).rowcount == 1

    def put_send(self, row: SendRow) -> None:
        values = {name: getattr(row, name) for name in SendRow.__slots__}
        self._db.execute(upsert(t.hook_sends).values(values).on_conflict_do_update(index_elements=["id"], set_=values))

    def due_sends(self, now: int, most: int) -> list[tuple[HookRow, SendRow]]:
        """What is to be told now, the longest due first: so many for each hook that is on."""
        found = []
        for hook in [hook for hook in self.hooks() if hook.state == "on"]:
            ours = (t.hook_sends.c.hook == hook.id) & (t.hook_sends.c.state == "waiting") & (t.hook_sends.c.due <= now)
            query = select(t.hook_sends).where(ours).order_by(t.hook_sends.c.due).limit(most)
            found += [(hook, SendRow(**row._mapping)) for row in self._db.execute(query)]
        return found

    def next_send(self, now: int) -> int | None:
        """When the next one is due that is not due yet."""
        query = select(func.min(t.hook_sends.c.due)).where(t.hook_sends.c.state == "waiting", t.hook_sends.c.due > now)
        found: int | None = self._db.execute(query).scalar()
        return found

    def sends_of(self, hook: str) -> dict[str, Any]:
        """How many of what a hook is told wait, are done and failed; and why the last one failed."""
        query = select(t.hook_sends.c.state, func.count()).where(t.hook_sends.c.hook == hook)
        counts = {row[0]: int(row[1]) for row in self._db.execute(query.group_by(t.hook_sends.c.state))}
        last = select(t.hook_sends.c.why).where(t.hook_sends.c.hook == hook, t.hook_sends.c.why.is_not(None))
        why = self._db.execute(last.order_by(t.hook_sends.c.at.desc()).limit(1)).scalar()
        return {**{state: counts.get(state, 0) for state in ("waiting", "done", "failed")}, "last_failure": why}

    def fail_sends(self, hook: str, why: str) -> None:
        ours = (t.hook_sends.c.hook == hook) & (t.hook_sends.c.state == "waiting")
        self._db.execute(update(t.hook_sends).where(ours).values(state="failed", why=why))

    def drop_oldest_sends(self, hook: str, most: int) -> int:
        """Give up what waits longest, beyond so many."""
        ours = (t.hook_sends.c.hook == hook) & (t.hook_sends.c.state == "waiting")
        kept = select(t.hook_sends.c.id).where(ours).order_by(t.hook_sends.c.at.desc(), text("rowid desc")).limit(most)
        late = update(t.hook_sends).where(ours, t.hook_sends.c.id.not_in(kept))
        return self._db.execute(late.values(state="failed", why="too many waited")).rowcount

    def drop_sends(self, before: int) -> None:
        """Forget what was told, or came in, long ago."""
        self._db.execute(delete(t.hook_sends).where(t.hook_sends.c.state != "waiting", t.hook_sends.c.at < before))
        self._db.execute(delete(t.hook_seen).where(t.hook_seen.c.at < before))

    def seen(self, id: str) -> tuple[int, str] | None:
        """(status, answer) of what came in under this id."""
        row = self._db.execute(select(t.hook_seen).where(t.hook_seen.c.id == id)).first()
        return None if row is None else (row.status, row.answer)

    def put_seen(self, id: str, status: int, answer: str, now: int) -> None:
        values = {"id": id, "status": status, "answer": answer, "at": now}
        self._db.execute(upsert(t.hook_seen).values(values).on_conflict_do_nothing())

    # -------------------------------------------------------------------------------------------------- tallies

    def tally(self, at: int, *names: str) -> None:
        """Count what happened, on its day (UTC)."""
        statement = upsert(t.tallies)
        more = {"count": t.tallies.c.count + statement.excluded.count}
        self._db.execute(
            statement.on_conflict_do_update(index_elements=["day", "name"], set_=more),
            [{"day": at // 86_400, "name": name, "count": 1} for name in names],
        )

    def tallies(self, since: int) -> dict[str, int]:
        """Name -> how often since an instant, by whole days."""
        query = select(t.tallies.c.name, func.sum(t.tallies.c.count)).where(t.tallies.c.day >= since // 86_400)
        return {row[0]: int(row[1]) for row in self._db.execute(query.group_by(t.tallies.c.name))}

    def drop_tallies(self, before: int) -> None:
        self._db.execute(delete(t.tallies).where(t.tallies.c.day < before // 86_400))

    # --------------------------------------------------------------------------------------------------- others

    def foreign_sizes(self) -> dict[str, int]:
        """Bytes of each sort of other people's data, in the order in which it makes way."""
        return sizes(self._db)

    def add_disclosure(self, root: bytes, vendor: bytes, what: str, now: int) -> None:
        self._db.execute(insert(t.disclosures).values(root=root, vendor=vendor, what=what, at=now))

    def put_peer(self, peer: str, address: str, now: int, most: int) -> None:
        values = {"peer": peer, "address": address, "met_at": now}
        self._db.execute(upsert(t.peers).values(values).on_conflict_do_update(index_elements=["peer"], set_=values))
        newest = select(t.peers.c.peer).order_by(t.peers.c.met_at.desc()).limit(most)
        self._db.execute(delete(t.peers).where(t.peers.c.peer.not_in(newest)))

    def peers(self) -> list[tuple[str, str]]:
        """(peer, address), newest first."""
        query = select(t.peers.c.peer, t.peers.c.address).order_by(t.peers.c.met_at.desc())
        return [(row[0], row[1]) for row in self._db.execute(query)]

    def add_event(self, type: str, at: int, data: dict[str, Any]) -> int:
        done = self._db.execute(insert(t.events).values(type=type, at=at, data=json.dumps(data)))
        assert done.inserted_primary_key is not None
        number = int(done.inserted_primary_key[0])
        if number % 500 == 0:
            heard = t.events.c.type.in_(HEARD_EVENTS)
            self._keep_newest_events(heard, KEEP_HEARD_EVENTS)
            self._keep_newest_events(~heard, KEEP_EVENTS)
        return number

    def _keep_newest_events(self, sort: ColumnElement[bool], most: int) -> None:
        oldest = select(t.events.c.id).where(sort).order_by(t.events.c.id.desc()).offset(most).limit(1)
        self._db.execute(delete(t.events).where(sort, t.events.c.id <= oldest.scalar_subquery()))

    def events_after(self, since: int, most: int = 500) -> list[dict[str, Any]]:
        query = select(t.events).where(t.events.c.id > since).order_by(t.events.c.id).limit(most)
        return [
            {"id": row.id, "type": row.type, "at": row.at, **json.loads(row.data)} for row in self._db.execute(query)
        ]

    def events_of(self, intent: str, before: int, most: int = 500) -> list[dict[str, Any]]:
        """Those that name a wish, from before an hour, the oldest first."""
        named = t.events.c.data.contains(f'"intent": "{intent}"')
        query = select(t.events).where(named, t.events.c.at < before).order_by(t.events.c.id).limit(most)
        return [
            {"id": row.id, "type": row.type, "at": row.at, **json.loads(row.data)} for row in self._db.execute(query)
        ]

    def last_event_at(self) -> int | None:
        """The hour of the newest event; None: there is none."""
        found: int | None = self._db.execute(select(t.events.c.at).order_by(t.events.c.id.desc()).limit(1)).scalar()
        return found

    def last_event(self) -> int:
        return int(self._db.execute(select(func.coalesce(func.max(t.events.c.id), 0))).scalar_one())

    def get_meta(self, name: str) -> str | None:
        found: str | None = self._db.execute(select(t.meta.c.value).where(t.meta.c.name == name)).scalar()
        return found

    def metas(self, prefix: str) -> dict[str, str]:
        """All that begin so."""
        query = select(t.meta.c.name, t.meta.c.value).where(t.meta.c.name.startswith(prefix, autoescape=True))
        return {row[0]: row[1] for row in self._db.execute(query)}

    def put_meta(self, name: str, value: str) -> None:
        values = {"name": name, "value": value}
        self._db.execute(upsert(t.meta).values(values).on_conflict_do_update(index_elements=["name"], set_=values))

    def drop_meta(self, name: str) -> None:
        self._db.execute(delete(t.meta).where(t.meta.c.name == name))
