"""The desk: everything people can ask of a node, in one place. Commands, API and page all come here.

Every method raises Trouble for what a person can mend, and returns views (views.py).
"""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import trio

from protocol.board import Board
from protocol.deal import DECLINE_REASONS, Accept
from protocol.envelope import Realm, open_frame
from protocol.errors import Refused
from protocol.exchange import Side, State, Talk
from protocol.intent import Intent, IntentClose, division_of
from protocol.keys import did
from protocol.message import Message, believe
from protocol.terms import Route

from .clock import CarefulClock
from .delivery import Delivery
from .drafts import Draft, normalised
from .events import EventLog
from .gossip import Gossip
from .mailbox import Inboxes, MailboxHost
from .network.seam import Network
from .requester import ANSWER_WITHIN, Requester
from .skew import Skew, advice
from .store import Store
from .threads import LiveThread, Threads
from .trail import Trail
from .trouble import Exit, Trouble, not_found, refused, usage
from .vendor.compose import compose
from .vendor.hooks import Hooks
from .vendor.office import Office
from .vendor.patterns import check_pattern
from .vendor.programs import Job, Program
from .vendor.role import VendorRole
from .vendor.stock import ProgramStock
from .views import View, contract_view, delivery_view, intent_view, judged_view, offer_view, plain, said_to, wish_view
from .wish import Judged, Wish

T = TypeVar("T")

DEFAULT_OFFER_LIFE = 24 * 3600
"""Seconds an offer by hand binds, if its maker says nothing."""


class Desk:
    def __init__(
        self,
        *,
        network: Network,
        gossip: Gossip,
        board: Board,
        delivery: Delivery,
        threads: Threads,
        store: Store,
        events: EventLog,
        requester: Requester,
        vendor: VendorRole,
        clock: CarefulClock,
        skew: Skew,
        trail: Trail,
        net: str,
        meeting: bool,
        routes: Any,
        counters: Mapping[str, Any],
        host: MailboxHost | None,
        hooks: Hooks,
        inboxes: Inboxes,
    ) -> None:
        self._network = network
        self._gossip = gossip
        self._board = board
        self._delivery = delivery
        self._threads = threads
        self._store = store
        self._events = events
        self._requester = requester
        self._vendor = vendor
        self._clock = clock
        self._skew = skew
        self._trail = trail
        self._net = net
        self._meeting = meeting
        self._routes = routes
        self._counters = counters
        self._host = host
        self._inboxes = inboxes
        self._started = time.monotonic()
        self.office = Office(self, store, vendor, board, clock, net, hooks)
        hooks.describe = self.office.describe
        vendor.view_of = lambda wish: {"wish": intent_view(wish, "open")}
        vendor.accepts.view_of = self._view_of_accept

    # -------------------------------------------------------------------------------------------------- own wishes

    async def preview(self, wish: Mapping[str, Any]) -> View:
        """What would be PUBLIC, and what STAYS HERE. Nothing is stored or sent."""
        old = self._wish(str(wish["update"])) if wish.get("update") else None
        draft = Draft(normalised(wish), old, self._clock.now())
        intent = self._check(draft, bytes(32))
        public = {name: value for name, value in plain(intent).items() if name not in ("box", "reply", "award")}
        public["keys"] = "fresh keys, made for this wish alone"
        public["node"] = {"peer_id": self._network.peer_id, "addresses": [route.addr for route in intent.reply]}
        if self._inboxes.to_ask:
            public["mailboxes"] = {"named_if_they_hold_for_it": list(self._inboxes.to_ask)}
        public["expires_at"] = self._expiry(draft, old)
        stays: View = {"contact": "told only to the vendor whose offer you accept"}
        if draft.limit is not None:
            stays["private_limit"] = plain(draft.limit)
        return {"public": public, "stays_here": stays, "intent": plain(intent)}

    async def ask(self, wish: Mapping[str, Any], reach_wait: float) -> View:
        """Broadcast a wish. `reached`: peers it was written to; 0 if nobody who carries it came within reach_wait."""
        self._store.check_room()
        old = self._wish(str(wish["update"])) if wish.get("update") else None
        draft = Draft(normalised(wish), old, self._clock.now())
        self._check(draft, bytes(32))

        def body(box: bytes, mailboxes: tuple[Route, ...]) -> Intent:
            return self._check(draft, box, mailboxes)

        if old is None:
            assert draft.life is not None
            made, peers = await self._requester.ask(body, life=draft.life, limit=draft.limit)
        else:
            made, peers = await self._requester.update(old, body, life=draft.life, limit=draft.limit)
        if not peers:
            peers = await self._requester.reach(made, reach_wait)
        view = {"intent": wish_view(made), "reached": len(peers), **self._offers_view(made, include_hidden=False)}
        told = advice(self._skew.seconds, self._clock.jump)
        return view if told is None else {**view, "warning": told}

    def _expiry(self, draft: "Draft", old: Wish | None) -> int:
        now = self._clock.now()
        if old is None:
            assert draft.life is not None
            return now + draft.life
        return max(now + (draft.life or 0), old.last_exp)

    def _check(self, draft: "Draft", box: bytes, mailboxes: tuple[Route, ...] = ()) -> Intent:
        return draft.intent(box, self._routes(mailboxes))

    async def wishes(self) -> list[View]:
        views = []
        for wish in self._requester.wishes():
            shown, counts = self._offers_shown(wish, include_hidden=False)
            views.append({**wish_view(wish), "offers": len(shown), **counts})
        return views

    async def offers_for(self, intent_id: str, include_hidden: bool = False) -> View:
        wish = self._wish(intent_id)
        return {"intent": wish_view(wish), **self._offers_view(wish, include_hidden=include_hidden)}

    def _offers_view(self, wish: Wish, *, include_hidden: bool) -> View:
        shown, counts = self._offers_shown(wish, include_hidden=include_hidden)
        return {"offers": [judged_view(one) for one in shown], **counts}

    def _offers_shown(self, wish: Wish, *, include_hidden: bool) -> tuple[list[Judged], View]:
        """The offers a person sees, best first, and how many she does not, and why."""
        if wish.sealed_until is not None:
            sealed = sum(live.thread.live is not None for live in self._requester.threads_of(wish))
            return [], {"hidden": 0, "sealed": sealed, "opens_at": wish.sealed_until}
        judged = self._requester.judged(wish)
        found = [one for one in judged if include_hidden or not one.hidden]
        most = wish.intent.max_offers
        counts: View = {"hidden": sum(one.hidden for one in judged)}
        if len(found) > most:
            counts["more"] = len(found) - most
        return found[:most], counts

    async def accept(
        self,
        offer_id: str,
        contact: str,
        note: str | None,
        options: list[str],
        wait: float,
        tell_others: str | None = None,
        answer_within: int = ANSWER_WITHIN,
    ) -> View:
        """Accept an offer and wait so many seconds for the vendor's answer; the contract's `state` says what came."""
        self._store.check_room()
        live, talk = self._talk(offer_id, Side.REQUESTER)
        accept = await self._requester.accept(
            live,
            talk,
            contact=normalised(contact),
            note=normalised(note),
            options=tuple(options),
            tell_others=tell_others,
            answer_within=answer_within,
        )
        with trio.move_on_after(wait):
            while talk.state is State.ACCEPTED:
                await self._requester.wait_moved()
        return {"contract": contract_view(live, talk, self._delivery.stage(accept.id))}

    async def decline(self, offer_id: str, reason: str | None) -> View:
        self._store.check_room()
        live, talk = self._talk(offer_id, Side.REQUESTER)
        await self._requester.decline(live, talk, reason)
        return {"offer": offer_view(live, talk)}

    async def withdraw(self, id_text: str, reason: str | None = None) -> View:
        """End an own wish, or take back an own offer. `reason`: told to those who offered."""
        self._store.check_room()
        prefix = _hex(id_text)
        wishes = [wish for wish in self._requester.wishes() if _names(wish, prefix)]
        if wishes:
            wish = _only(wishes, id_text)
            await self._requester.withdraw(wish, reason)
            return {"intent": wish_view(wish)}
        live, talk = self._talk(id_text, Side.VENDOR, "no such wish or offer of yours")
        if reason is not None:
            raise usage("reason", "a reason goes with the end of a wish", "Take the offer back without one.")
        await self._vendor.withdraw(live, talk)
        return {"offer": offer_view(live, talk)}

    # --------------------------------------------------------------------------------------------- others' wishes

    async def heard(self) -> list[View]:
        """Wishes heard from others, newest first, with what this vendor made of them: open ones, and the last of those
        that are over (awarded, elsewhere, withdrawn or expired)."""
        views = []
        for posting in self._board:
            message = posting.message
            if posting.is_open and self._requester.wish_of_message(message.id) is None:
                views.append(self._heard_view(message, "open"))
        for state, frame in await self._store.transact(lambda tx: tx.ended()):
            try:
                message = believe(open_frame(frame, Realm.GOSSIP, self._net))
            except Refused:
                continue  # damaged on disk: a line less in a list of what is over anyway
            views.append(self._heard_view(message, state))
        return sorted(views, key=lambda view: -int(view["at"]))

    def _heard_view(self, message: Message, state: str) -> View:
        row = self._vendor.answer_to(message.id)
        view = intent_view(message, state)
        view["answered"] = row is not None and row.offer is not None
        if row is not None:
            view["why"] = row.why
            if row.offer is not None:
                view["offer"] = row.offer.hex()
        return view

    async def offers_made(self) -> list[View]:
        made = []
        for live in self._threads:
            if live.side is not Side.VENDOR:
                continue
            for talk in live.thread.talks.values():
                view = self._own_offer_view(live, talk)
                view["delivery"] = self._delivery.stage(talk.offer.id) or "SETTLED"
                contact = live.contact_of(talk.offer.id)
                if contact is not None:
                    view["requester_contact"] = contact
                made.append(view)
        return sorted(made, key=lambda view: -int(view["at"]))

    def _own_offer_view(self, live: LiveThread, talk: Talk) -> View:
        """With what became of the wish, if nobody told us and it hangs on the board."""
        view = offer_view(live, talk)
        posting = self._board.of_author(live.thread.requester, division_of(str(view["category"])))
        if "wish" not in view and posting is not None and posting.message.root == live.root:
            if isinstance(posting.message.body, IntentClose):
                view["wish"] = posting.message.body.reason
            elif posting.message.id != talk.offer.ref:
                view["wish"] = "updated"
        return view

    async def make_offer(self, intent_id: str, offer: Mapping[str, Any]) -> View:
        """A vendor answers by hand."""
        self._store.check_room()
        offer = normalised(offer)
        message = self._heard_wish(intent_id)
        wish = message.body
        assert isinstance(wish, Intent)
        catalogue = self._vendor.catalogue
        name = offer.get("name") or (catalogue.vendor.name if catalogue is not None else None)
        contact = offer.get("contact") or (catalogue.contact if catalogue is not None else None)
        if not name or not contact:
            raise usage(
                "vendor",
                "an offer says who makes it and how to reach them",
                "Add --name and --contact, or a catalogue.",
            )
        body = compose(wish, offer, str(name))
        made = await self._vendor.offer_by_hand(
            message, body, int(offer.get("valid_for") or DEFAULT_OFFER_LIFE), str(contact)
        )
        live, talk = self._talk(made.id.hex(), Side.VENDOR)
        return {"offer": offer_view(live, talk)}

    async def decide(
        self, contract_id: str, confirm: bool, reason: str | None, note: str | None, reference: str | None
    ) -> View:
        """A vendor confirms or rejects an accept that waits for its decision."""
        live, talk = self._talk(contract_id, Side.VENDOR)
        refusal = None if confirm else reason or "policy"
        await self._vendor.accepts.decide(live, talk, refusal, normalised(note), normalised(reference))
        return {"contract": contract_view(live, talk, None)}

    # ------------------------------------------------------------------------------------------- vendors' programs

    async def program(self, said: Mapping[str, Any]) -> AsyncIterator[View]:
        """A vendor's program comes to work: its jobs, for as long as it reads them."""
        try:
            patterns = tuple(check_pattern(text) for text in said["categories"])
        except ValueError as bad:
            raise usage("bad_pattern", str(bad), "Write for example 'mobility.car.**'.") from None
        name, contact = normalised(said["name"]), normalised(said["contact"])
        self._vendor.programs.check_place(name)  # before the stream begins, on which nobody could be told
        key, value = f"program:{name}", " ".join(patterns)
        await self._store.transact(lambda tx: tx.put_meta(key, value))
        concurrency = int(said.get("concurrency") or 8)
        return self._vendor.programs.work(
            name, contact, patterns, decides=bool(said.get("decides")), concurrency=concurrency
        )

    async def forget_program(self, name: str) -> View:
        """Wait for it no longer: the catalogue answers, and its categories are not listened to for its sake."""
        self._vendor.programs.forget_program(name)
        await self._store.transact(lambda tx: tx.drop_meta(f"program:{name}"))
        return {"programs": self._vendor.programs.views()}

    async def answer_job(self, job_id: str, said: Mapping[str, Any]) -> View:
        """What a program made of a job."""
        programs = self._vendor.programs
        program, job = programs.take(job_id)
        outcome = str(said["outcome"])
        try:
            if outcome in ("raised", "timeout"):
                programs.failed(program, job, outcome, str(said.get("error", "")))
            elif job.kind == "wish":
                await self._take_answer(program, job, outcome, said)
            else:
                await self._take_decision(job, outcome, said)
        except Trouble as trouble:
            programs.failed(program, job, "refused", f"{trouble.message} {trouble.hint}".strip())
            raise
        if outcome not in ("raised", "timeout"):
            programs.count(program.name, {"offer": "offered", "decline": "declined"}.get(outcome, outcome))
        return {"done": outcome}

    async def _take_answer(self, program: Program, job: Job, outcome: str, said: Mapping[str, Any]) -> None:
        wish = job.about
        assert isinstance(wish.body, Intent)
        if outcome == "offer" and said.get("offer"):
            self._store.check_room()
            offer = normalised(said["offer"])
            body = compose(wish.body, offer, program.name)
            stock = offer.get("stock")
            counted = None
            if stock is not None:
                counted = ProgramStock(**{**stock, "key": f"{program.name}/{stock['key']}"})
            count = wish.body.quantity
            await self._vendor.program_offers(program, wish, body, int(offer["valid_for"]), counted, count)
        elif outcome in ("nothing", "decline"):
            if outcome == "decline" and said.get("code", "other") not in DECLINE_REASONS:
                raise usage("reason", f"no reason {said['code']!r}", "Use one of " + ", ".join(DECLINE_REASONS))
            why = f"declined:{said['code']}" if outcome == "decline" and said.get("code") else "nothing"
            await self._vendor.program_passes(program, wish, why)
        else:
            raise usage("outcome", f"{outcome!r} is no answer to a wish", "offer, nothing or decline")

    async def _take_decision(self, job: Job, outcome: str, said: Mapping[str, Any]) -> None:
        if outcome not in ("confirm", "reject"):
            raise usage("outcome", f"{outcome!r} is no answer to an accept", "confirm or reject")
        await self.decide(
            job.about.id.hex(), outcome == "confirm", said.get("reason"), said.get("note"), said.get("reference")
        )

    def _view_of_accept(self, live: LiveThread, talk: Talk) -> View:
        """An accept as a program sees it: wish, offer and contract."""
        accept, wish = talk.accept, self._board.get(talk.offer.ref)
        assert accept is not None
        assert isinstance(accept.body, Accept)
        found = {"offer": offer_view(live, talk), "contract": contract_view(live, talk)}
        if accept.body.note is not None:
            found["contract"]["requester_note"] = accept.body.note
        if wish is not None and isinstance(wish.message.body, Intent):
            found["wish"] = intent_view(wish.message, "open" if wish.is_open else "over")
        return found

    # ----------------------------------------------------------------------------------------------------- looking

    async def show(self, id_text: str) -> View:
        """Any wish, offer or contract this node knows."""
        prefix = _hex(id_text)
        found: dict[bytes, View] = {}
        for wish in self._requester.wishes():
            if _names(wish, prefix):
                view = {"kind": "intent", "intent": wish_view(wish), **self._offers_view(wish, include_hidden=True)}
                found[wish.root] = {**view, "messages": await self._said_about(wish)}
        for posting in self._board:
            message = posting.message
            is_named = any(one.hex().startswith(prefix) for one in (message.id, message.root))
            if posting.is_open and is_named and message.root not in found:
                found[message.root] = {"kind": "intent", "intent": self._heard_view(message, "open")}
        for view in await self.heard():
            if view["id"].startswith(prefix):
                found.setdefault(bytes.fromhex(view["id"]), {"kind": "intent", "intent": view})
        for live in self._threads:
            for talk in live.thread.talks.values():
                if talk.offer.id.hex().startswith(prefix):
                    view = self._talk_view(live, talk)
                    found[talk.offer.id] = {"kind": "offer", "offer": view, "messages": await self._said(live)}
                if talk.accept is not None and talk.accept.id.hex().startswith(prefix):
                    view = contract_view(live, talk, self._delivery.stage(talk.accept.id))
                    found[talk.accept.id] = {"kind": "contract", "contract": view, "messages": await self._said(live)}
        return _only(list(found.values()), id_text)

    async def _said(self, live: LiveThread) -> list[View]:
        """What we said in a thread, and how far each message came."""
        return [delivery_view(step) for step in await self._delivery.history(live)]

    async def _said_about(self, wish: Wish) -> list[View]:
        """What we said to each vendor that offered; nothing while nobody may see who did."""
        if wish.sealed_until is not None:
            return []
        return [
            {**step, **said_to(live, step)}
            for live in self._requester.threads_of(wish)
            if live.thread.talks
            for step in await self._said(live)
        ]

    def _talk_view(self, live: LiveThread, talk: Talk) -> View:
        wish = self._requester.wish(live.root)
        if live.side is Side.VENDOR:
            return self._own_offer_view(live, talk)
        if wish is None:
            return offer_view(live, talk)
        if wish.sealed_until is not None:
            named = {"id": talk.offer.id.hex(), "intent": live.root.hex()}
            return {**named, "state": "sealed", "opens_at": wish.sealed_until}
        return judged_view(self._requester.judge(wish, live, talk))

    async def trace(self, id_text: str) -> View:
        """What this node alone saw of one wish (or of that of an offer or contract), the oldest first."""
        prefix = _hex(id_text)
        roots = self._trail.roots(prefix)
        if not roots:
            shown = await self.show(id_text)
            said = shown[shown["kind"]]
            roots = {bytes.fromhex(said["id"] if shown["kind"] == "intent" else said["intent"])}
        root = _only(sorted(roots), id_text)
        named, began = root.hex(), int(self._trail.began)
        before = await self._store.transact(lambda tx: tx.events_of(named, began))
        steps = [*map(_told_step, before), *self._trail.of(root)]
        revisions = dict.fromkeys(step["revision"] for step in steps if "revision" in step)
        decisions = [told for revision in revisions if (told := self._decision(revision)) is not None]
        return {
            "intent": root.hex(),
            "peer_id": self._network.peer_id,
            "vendor": did(self._vendor.public),
            "began": round(self._trail.began, 3),
            "forgotten": self._trail.forgotten,
            "steps": steps,
            "decisions": decisions,
        }

    def _decision(self, revision: str) -> View | None:
        """What the vendor here made of a text of a wish."""
        row = self._vendor.answer_to(bytes.fromhex(revision))
        return None if row is None else {"revision": revision, "why": row.why, "offered": row.offer is not None}

    async def status(self) -> View:
        gossip = self._gossip.statistics()
        return {
            "peer_id": self._network.peer_id,
            "addresses": list(self._network.addresses),
            "net": self._net,
            "meeting": self._meeting,
            "vendor": did(self._vendor.public),
            "vendor_name": self._vendor.catalogue.vendor.name if self._vendor.catalogue is not None else None,
            "catalogue_trouble": self._vendor.catalogue_trouble,
            "programs": self._vendor.programs.views(),
            "uptime": round(time.monotonic() - self._started, 1),
            "now": self._clock.now(),
            "clock": self._clock_view(),
            "heard": self._counters["wishes"]["wishes"],
            "latest": self._latest_view(),
            "peers": len(self._network.links()),
            "alarms": [plain(alarm) for alarm in self._gossip.alarms],
            "topics": list(self._gossip.divisions),
            "wishes": sum(wish.is_open for wish in self._requester.wishes()),
            "threads": sum(live.thread.live is not None for live in self._threads),
            "outbox": self._delivery.unsettled,
            "outbox_since": self._delivery.oldest_unsettled,
            "disk": await self._disk_view(),
            "board": len(self._board),
            "mailbox": await self._host.statistics() if self._host is not None else None,
            "mailboxes": self._inboxes.view(),
            "counters": {
                "board": gossip["board"],
                "gossip": plain(gossip["router"]),
                "driver": gossip["driver"],
                "delivery": dict(self._delivery.counters),
                "vendor": dict(self._vendor.counters),
                "network": self._network.statistics(),
                **{name: dict(counter) for name, counter in self._counters.items() if name != "wishes"},
            },
        }

    def _latest_view(self) -> View | None:
        """The wish that came last, and the moment at which it did."""
        latest = self._trail.latest
        return None if latest is None else {"intent": latest[0], "at": round(latest[1], 3)}

    def _clock_view(self) -> View:
        """`ahead`: seconds this machine's clock is ahead of its peers'. `sources`: how many of them were heard.
        `certain`: false while nobody has confirmed the hour of a start, and nothing ends by it."""
        skew, jump = self._skew.seconds, self._clock.jump
        view = {
            "ahead": skew,
            "sources": len(self._skew.courses),
            "jump": jump,
            "certain": None if self._clock.is_certain else False,
            "advice": advice(skew, jump),
        }
        return {name: value for name, value in view.items() if value is not None}

    async def _disk_view(self) -> View:
        """How much room there is; since the start, how often other people's data was left out or made way; and the
        bytes there are of each sort of it, the first to go first."""
        store = self._store
        view: View = {"room": store.room.value, "waiting": store.waiting, **store.counters}
        if store.disk is not None:
            view["free"] = store.disk.space_seen.free
        others = await store.transact_at_best(lambda tx: tx.foreign_sizes())
        if others is not None:  # or the disk is so full that not even this could be asked
            view["others"] = others
        return view

    async def peers(self) -> list[View]:
        return [
            {
                "peer_id": link.peer,
                "direction": "outbound" if link.outbound else "inbound",
                "remote": link.remote,
                "topics": list(self._gossip.topics_of(link.peer)),
            }
            for link in self._network.links()
        ]

    async def invite(self) -> View:
        addresses = self._network.addresses
        if not addresses:
            raise refused("no_address", "this node listens nowhere, so nobody can join it", "Start it with --listen.")
        return {"address": addresses[0], "addresses": list(addresses), "net": self._net, "text": addresses[0]}

    def events(self, since: int) -> AsyncIterator[View]:
        return self._events.since(since)

    # ----------------------------------------------------------------------------------------------------- finding

    def _wish(self, id_text: str) -> Wish:
        prefix = _hex(id_text)
        found = [wish for wish in self._requester.wishes() if _names(wish, prefix)]
        if not found:
            raise not_found(f"no wish of yours starts with {id_text}", "`intentcast intents --mine` lists them.")
        return _only(found, id_text)

    def _heard_wish(self, id_text: str) -> Message:
        prefix = _hex(id_text)
        found = {  # by author and root: a root is only what an author claims
            (posting.message.author, posting.message.root): posting.message
            for posting in self._board
            if posting.is_open
            and any(one.hex().startswith(prefix) for one in (posting.message.id, posting.message.root))
        }
        if not found:
            raise not_found(f"no open wish starts with {id_text}", "`intentcast intents` lists those heard.")
        return _only(list(found.values()), id_text)

    def offer_talk(self, id_text: str) -> tuple[LiveThread, Talk]:
        """An offer of ours. Raises Trouble."""
        return self._talk(id_text, Side.VENDOR)

    def _talk(self, id_text: str, side: Side, missing: str = "no such offer") -> tuple[LiveThread, Talk]:
        prefix = _hex(id_text)
        found = [
            (live, talk)
            for live in self._threads
            if live.side is side
            for talk in live.thread.talks.values()
            if talk.offer.id.hex().startswith(prefix) or (talk.accept and talk.accept.id.hex().startswith(prefix))
        ]
        if not found:
            raise not_found(f"{missing} starts with {id_text}", "`intentcast offers` lists them.")
        return _only(found, id_text)


def _names(wish: Wish, prefix: str) -> bool:
    return any(one.hex().startswith(prefix) for one in (wish.root, wish.revision.id, wish.current.id))


def _hex(text: str) -> str:
    """An id or a prefix of one. Raises Trouble for what cannot be one."""
    lowered = text.strip().lower()
    if not 8 <= len(lowered) <= 64 or any(digit not in "0123456789abcdef" for digit in lowered):
        raise usage("id", f"{text!r} is no id", "Ids are hex; 8 or more of their first characters are enough.")
    return lowered


def _told_step(event: View) -> View:
    """A stored event as a step of a trace: to the second."""
    return {"what": event["type"], **{name: event[name] for name in event if name not in ("id", "type", "intent")}}


def _only(found: list[T], id_text: str) -> T:
    if not found:
        raise not_found(f"nothing here starts with {id_text}", "`intentcast intents` and `intentcast offers` list ids.")
    if len(found) > 1:
        raise Trouble("ambiguous", f"{len(found)} things start with {id_text}", "Give more characters.", Exit.USAGE)
    return found[0]
