"""What the API asks of the node behind it. `node.desk.Desk` is the real one; tests bring their own."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

View = dict[str, Any]
"""Something as people and scripts see it: ready to become JSON. Ids are lower-case hex."""


class Desk(Protocol):
    """Every method raises Trouble for what a person can mend. Ids may be unique prefixes of 8 or more characters."""

    async def preview(self, wish: Mapping[str, Any]) -> View: ...

    async def ask(self, wish: Mapping[str, Any], reach_wait: float) -> View: ...

    async def wishes(self) -> list[View]: ...

    async def heard(self) -> list[View]: ...

    async def offers_for(self, intent_id: str, include_hidden: bool = False) -> View: ...

    async def offers_made(self) -> list[View]: ...

    async def show(self, id_text: str) -> View: ...

    async def make_offer(self, intent_id: str, offer: Mapping[str, Any]) -> View: ...

    async def decide(
        self, contract_id: str, confirm: bool, reason: str | None, note: str | None, reference: str | None
    ) -> View: ...

    async def accept(
        self,
        offer_id: str,
        contact: str,
        note: str | None,
        options: list[str],
        wait: float,
        tell_others: str | None = None,
    ) -> View: ...

    async def decline(self, offer_id: str, reason: str | None) -> View: ...

    async def withdraw(self, id_text: str, reason: str | None = None) -> View: ...

    async def status(self) -> View: ...

    async def peers(self) -> list[View]: ...

    async def invite(self) -> View: ...

    def events(self, since: int) -> AsyncIterator[View]:
        """Events with an id above `since`, then new ones as they come, without end."""
        ...
