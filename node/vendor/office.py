"""What a vendor looks at: figures, reasons, leads, and the hooks into its own systems."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from protocol.board import Board
from protocol.intent import Intent

from ..clock import Clock
from ..store import Store
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
        self, desk: "Desk", store: Store, vendor: VendorRole, board: Board, clock: Clock, hooks: Hooks
    ) -> None:
        self._desk = desk
        self._store = store
        self._vendor = vendor
        self._board = board
        self._clock = clock
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
                line = "not looked at yet" if why is None else why_line(why, view["action"])
                named = {name: view[name] for name in ("id", "state", "at", "action", "category", "title")}
                found.append({**named, "why": why, "line": line})
        return {"intents": found}

    async def leads(self) -> View:
        """Every offer made: an opportunity, or a lead once its person said who they are."""
        return {"leads": [lead_of(offer, self._wish(offer["revision"])) for offer in await self._desk.offers_made()]}

    def describe(self, event: Mapping[str, Any]) -> View:
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
            found["lead"] = lead_of(view, self._wish(view["revision"]))
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

    def _wish(self, revision: str) -> View | None:
        posting = self._board.get(bytes.fromhex(revision))
        wish = posting.message if posting is not None else None
        return intent_view(wish, "open") if wish is not None and isinstance(wish.body, Intent) else None
