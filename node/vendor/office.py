"""What a vendor looks at: figures, reasons, leads, and the hooks into its own systems."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from protocol.board import Board
from protocol.envelope import Realm, open_frame
from protocol.errors import Refused
from protocol.intent import Intent
from protocol.message import believe

from ..clock import Clock
from ..store import Store, Tx
from ..trouble import Trouble
from ..views import View, intent_view, offer_view
from .hooks import Hooks
from .leads import lead_of
from .role import VendorRole
from .tallies import summary, why_line

if TYPE_CHECKING:
    from ..desk import Desk


class Office:
    def __init__(
        self, desk: "Desk", store: Store, vendor: VendorRole, board: Board, clock: Clock, net: str, hooks: Hooks
    ) -> None:
        self._desk = desk
        self._store = store
        self._vendor = vendor
        self._board = board
        self._clock = clock
        self._net = net
        self.hooks = hooks

    async def stats(self, days: int) -> View:
        """What this vendor did in so many days (whole ones, UTC), and what became of it."""
        since = self._clock.now() - (days - 1) * 86_400
        counts = await self._store.transact(lambda tx: tx.tallies(since))
        return {"days": days, **summary(counts), "programs": self._vendor.programs.views()}

    async def unanswered(self) -> View:
        """Wishes that were heard and not answered, newest first, each with the reason in one line."""
        found = []
        for view in await self._desk.heard():
            if not view["answered"]:
                why = view.get("why")
                line = self._undecided(view) if why is None else why_line(why, view["action"])
                named = {name: view[name] for name in ("id", "state", "at", "action", "category", "title")}
                found.append({**named, "why": why, "line": line})
        return {"intents": found}

    def _undecided(self, wish: View) -> str:
        """In one line, what a wish waits for, or waited for until it ended."""
        revision = bytes.fromhex(wish["revision"])
        passed = self._vendor.catalogue_passed(revision)
        waits = self._vendor.programs.waits(revision, wish["category"])
        if wish["state"] != "open":
            line = why_line("unanswered", wish["action"])
        elif waits is not None:
            line = "it waits for your program {}, which {}".format(*waits)
        else:
            line = "not looked at yet"
        return line if passed is None else f"{line}; your catalogue: {why_line(passed, wish['action'])}"

    async def leads(self) -> View:
        """Every offer made: an opportunity, or a lead once its person said who they are."""
        offers = await self._desk.offers_made()

        def work(tx: Tx) -> list[View]:
            return [lead_of(offer, self._wish(tx, offer["revision"])) for offer in offers]

        return {"leads": await self._store.transact(work)}

    def describe(self, tx: Tx, event: Mapping[str, Any]) -> View:
        """An event with what the vendor's own systems want to know about it."""
        found = {name: value for name, value in event.items() if name not in ("id", "type", "at")}
        if "offer" in found:
            try:
                live, talk = self._desk.offer_talk(str(found["offer"]))
            except Trouble:
                return found  # long over: its thread was forgotten
            view = offer_view(live, talk)
            contact = live.contact_of(talk.offer.id)
            if contact is not None:
                view["requester_contact"] = contact
            found["lead"] = lead_of(view, self._wish(tx, view["revision"]))
        return found

    async def hook_views(self) -> View:
        return {"hooks": await self.hooks.views()}

    async def hook(self, said: Mapping[str, Any]) -> View:
        """Add, rotate or remove a hook; or make the key for what comes in."""
        do, id = str(said["do"]), str(said.get("id") or "")
        if do == "add":
            private = bool(said.get("allow_private"))
            return await self.hooks.add(str(said.get("url") or ""), said.get("events") or (), private)
        if do == "incoming":
            return await self.hooks.incoming()
        if do == "rotate":
            return await self.hooks.rotate(id)
        await self.hooks.remove(id)
        return {"id": id, "removed": True}

    def _wish(self, tx: Tx, revision: str) -> View | None:
        """What an offer answers: from the board, and once it has left that, as it was stored with the offer."""
        id = bytes.fromhex(revision)
        posting = self._board.get(id)
        try:
            if posting is not None:
                wish = posting.message
            elif (stored := tx.message(id)) is not None:
                wish = believe(open_frame(stored.frame, Realm.GOSSIP, self._net))
            else:
                return None
        except Refused:
            return None  # damaged on disk: the offer's own words stand in
        return intent_view(wish, "open") if isinstance(wish.body, Intent) else None
