"""A vendor's own program: a process beside the node, which gets wishes over the local API and answers them.

    from node.vendor import Vendor

    shop = Vendor("Alpine Cars", categories=["mobility.car.**"], contact="+33 4 00 00 00 00")

    @shop.on_intent(action="rent")
    async def quote(wish, ctx):
        return ctx.offer(total="240 EUR", valid_for="2h")

    shop.run()

Whatever it does, it cannot harm the node: it has ten seconds for each wish, a bounded number at a time, and one that
raises, hangs, spins or dies is counted and shown (`intentcast vendor programs`). `shop.test(wish)` asks the same
handlers without a node or a network.
"""

import inspect
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from protocol.categories import is_below, matches_pattern
from protocol.limits import MAX_LIFE
from protocol.offer import Offer
from protocol.terms import Money

from ..trouble import Exit, Trouble, refused, usage
from .answers import Answer, Context, Deal, Decision, Decline, Quote, money_of
from .compose import compose
from .patterns import check_pattern
from .pricelist import words_of
from .wish import Wish

SECONDS: Final = 10.0
"""For a handler; the node waits no longer."""

CONCURRENCY: Final = 8
"""Wishes handled at a time, if nothing else is said."""

FIRST_RETRY, LAST_RETRY = 0.5, 30.0
"""Seconds between attempts to reach the node, doubling."""

PLAIN_IN_PLACE: Final = ContextVar("PLAIN_IN_PLACE", default=False)
"""Call plain handlers where we are, not in a thread: in virtual time, which would not wait for one."""

Handler = Callable[["Wish", "Context"], Answer | Awaitable[Answer]]
Decider = Callable[["Deal", "Context"], Decision | Awaitable[Decision | None] | None]
H = TypeVar("H", bound=Handler)
D = TypeVar("D", bound=Decider)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A handler, and the wishes it is for."""

    handler: Handler
    actions: tuple[str, ...]
    category: str | None
    place: str | None
    radius: int | None
    at_least: Money | None
    words: frozenset[str]

    def wants(self, wish: Wish) -> bool:
        if self.actions and wish.action not in self.actions:
            return False
        if self.category is not None and not _fits(self.category, wish.category):
            return False
        if self.place is not None and not wish.is_near(self.place, self.radius):
            return False
        if self.words and not self.words <= wish.words:
            return False
        limit, least = wish.limit, self.at_least
        return least is None or limit is None or limit.currency != least.currency or limit.minor >= least.minor


def _fits(pattern: str, category: str) -> bool:
    """Is the wish in the pattern, or broader than it: who wants any car is answered by who has small ones."""
    return matches_pattern(pattern, category) or ("*" not in pattern and is_below(pattern, category))


class Vendor:
    """A shop in code. `categories` are the wishes the node sends here."""

    def __init__(
        self,
        name: str,
        *,
        categories: Iterable[str],
        contact: str = "",
        home: Path | str | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        """`contact` is told to a customer with the confirm. `home`: the node's; without it the usual one.

        Raises Trouble for a category nobody knows."""
        self.name = name
        self.contact = contact or name
        self.categories = tuple(_pattern(text) for text in categories)
        if not self.categories:
            raise usage("no_category", "a shop hears no wish without categories", 'categories=["mobility.car.**"]')
        self.home = home
        self.concurrency = max(1, concurrency)
        self._rules: list[_Rule] = []
        self._decider: Decider | None = None

    # ---------------------------------------------------------------------------------------------------- handlers

    def on_intent(
        self,
        *,
        action: str | Iterable[str] = (),
        category: str | None = None,
        place: str | None = None,
        radius: int | None = None,
        at_least: str | None = None,
        words: str = "",
    ) -> Callable[[H], H]:
        """The decorated function answers the wishes that fit all that is said here. Of several, the first that is
        written and answers goes.

        - `action`: buy, rent, hire, book, repair, or several;
        - `category`: a pattern, `mobility.car.**`;
        - `place`, `radius`: `iata:LYS` or a geohash cell, within so many kilometres;
        - `at_least`: not wishes whose public limit is below this price;
        - `words`: all of them stand in its title or note.
        """
        actions = (action,) if isinstance(action, str) else tuple(action)
        pattern = None if category is None else _pattern(category)
        least = None if at_least is None else money_of(at_least, None)

        def register(handler: H) -> H:
            self._rules.append(_Rule(handler, actions, pattern, place, radius, least, words_of(words)))
            return handler

        return register

    def on_accept(self, decider: D) -> D:
        """The decorated function decides accepts: `ctx.confirm()`, `ctx.reject("sold_out")`, or None to confirm.
        Without one, what is in stock is confirmed at once."""
        self._decider = decider
        return decider

    @property
    def asks_for_accepts(self) -> bool:
        """Does it decide about accepts itself?"""
        return self._decider is not None

    # ----------------------------------------------------------------------------------------------------- offline

    def test(self, wish: Mapping[str, Any] | Wish, now: int | None = None) -> Offer | Decline | None:
        """What it answers to a wish, as it would be sent; no node and no network is needed.

        `wish`: what `intentcast intents --json` shows, or what `ask` takes ({"action", "category", "title", ...}).
        Raises what the handler raises, and Trouble for an offer that could not be sent."""
        import trio

        return trio.run(self.answer, wish, now)

    async def answer(self, wish: Mapping[str, Any] | Wish, now: int | None = None) -> Offer | Decline | None:
        """The same, from inside a trio program."""
        if not isinstance(wish, Wish):
            wish = Wish.read(wish) if "revision" in wish else _drafted(wish, now)
        import trio

        try:
            with trio.fail_after(SECONDS):
                found = await self._handle(wish, int(time.time()) if now is None else now)
        except trio.TooSlowError:
            raise refused("timeout", f"a handler took over {SECONDS:g} s", "The node waits no longer.") from None
        return compose(wish.intent, found.body, self.name) if isinstance(found, Quote) else found

    async def _handle(self, wish: Wish, now: int) -> Answer:
        if not any(matches_pattern(pattern, wish.category) for pattern in self.categories):
            return None  # the node would not send it
        context = Context(wish, now)
        for rule in self._rules:
            if rule.wants(wish):
                answer = await _call(rule.handler, wish, context)
                if answer is not None:
                    return cast(Answer, _checked(answer, (Quote, Decline), rule.handler))
        return None

    async def _decide(self, deal: Deal, now: int) -> Decision:
        if self._decider is None:
            return Decision(True)
        answer = await _call(self._decider, deal, Context(deal.wish, now))
        return Decision(True) if answer is None else cast(Decision, _checked(answer, (Decision,), self._decider))

    # ------------------------------------------------------------------------------------------------------ at work

    def run(self) -> None:
        """Work for the node until Ctrl-C. While the node is down, wait for it."""
        import trio

        try:
            trio.run(self.serve)
        except KeyboardInterrupt:
            print("Ended.", file=sys.stderr)
        except Trouble as trouble:
            raise SystemExit(f"Error: {trouble.message}\n  {trouble.hint}".rstrip()) from None

    async def serve(self) -> None:
        """The same, from inside a trio program. Raises Trouble if the node does not let us in."""
        import httpx
        import trio

        pause = FIRST_RETRY
        while True:
            try:
                await self._work_once()
                pause = FIRST_RETRY
            except (httpx.TransportError, OSError):
                pass
            except Trouble as trouble:
                if trouble.exit_code is not Exit.NOT_RUNNING:
                    raise
            print(f"The node is not there; looking again in {pause:g} s.", file=sys.stderr)
            await trio.sleep(pause)
            pause = min(LAST_RETRY, 2 * pause)

    async def _work_once(self) -> None:
        """From connecting until the node ends."""
        import httpx
        import trio

        from ..cli.client import Client
        from ..home import default_home

        home = default_home() if self.home is None else Path(self.home)
        path = await trio.to_thread.run_sync(Client(home).socket_path)
        transport = httpx.AsyncHTTPTransport(uds=path)
        said = {
            "name": self.name,
            "contact": self.contact,
            "categories": list(self.categories),
            "decides": self.asks_for_accepts,
            "concurrency": self.concurrency,
        }
        async with httpx.AsyncClient(transport=transport, base_url="http://intentcast", timeout=30.0) as client:
            async with client.stream("POST", "/v1/vendor/programs", json=said, timeout=None) as stream:
                if stream.status_code != 200:
                    raise _trouble(await stream.aread())
                async with trio.open_nursery() as nursery:
                    with suppress(httpx.TransportError):  # it ended, perhaps in the middle of a line
                        async for line in stream.aiter_lines():
                            if line.startswith("data: "):
                                job = json.loads(line[6:])
                                if job["type"] in ("wish", "accept"):
                                    nursery.start_soon(self._work, client, job)
                                else:
                                    print(f"{self.name} is at work.", file=sys.stderr)
                    nursery.cancel_scope.cancel()

    async def _work(self, client: Any, job: Mapping[str, Any]) -> None:
        import httpx

        said = await self.do(job, int(time.time()))
        try:
            answer = await client.post(f"/v1/vendor/jobs/{job['job']}", json=said)
        except httpx.TransportError as failed:
            print(f"The node did not take an answer: {failed}", file=sys.stderr)  # it asks again
            return
        if answer.status_code != 200:
            print(f"The node says: {_trouble(answer.content).message}", file=sys.stderr)

    async def do(self, job: Mapping[str, Any], now: int) -> dict[str, Any]:
        """One job of the node, and what it is told: also of a handler that raises or takes too long."""
        import trio

        said: dict[str, Any]
        with trio.move_on_after(SECONDS) as scope:
            try:
                said = await (self._quote(job, now) if job["type"] == "wish" else self._settle(job, now))
            except Exception as wrong:
                said = {"outcome": "raised", "error": f"{type(wrong).__name__}: {wrong}"[:400]}
                print(f"A handler raised {said['error']}", file=sys.stderr)
        if scope.cancelled_caught:
            said = {"outcome": "timeout", "error": f"the handler took over {SECONDS:.0f} s"}
        return said

    async def _quote(self, job: Mapping[str, Any], now: int) -> dict[str, Any]:
        answer = await self._handle(Wish.read(job["wish"]), now)
        if isinstance(answer, Quote):
            return {"outcome": "offer", "offer": dict(answer.body)}
        if isinstance(answer, Decline):
            return {"outcome": "decline", "code": answer.code}
        return {"outcome": "nothing"}

    async def _settle(self, job: Mapping[str, Any], now: int) -> dict[str, Any]:
        contract = job["contract"]
        total = contract.get("total_with_options", contract["total"])
        deal = Deal(
            contract=contract["id"],
            wish=Wish.read(job["wish"]),
            offer=job["offer"],
            contact=contract["requester_contact"],
            options=tuple(option["name"] for option in contract.get("options", ())),
            total=Money(total["minor"], total["currency"]),
            note=contract.get("requester_note"),
        )
        found = await self._decide(deal, now)
        said = {"reason": found.reason, "reference": found.reference, "note": found.note}
        return {"outcome": "confirm" if found.confirm else "reject", **{k: v for k, v in said.items() if v is not None}}


async def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """An async function as it is; a plain one in a thread, so that it cannot hold up the others."""
    import trio

    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    if PLAIN_IN_PLACE.get():
        return function(*arguments)
    work = partial(function, *arguments)
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)  # type: ignore[call-arg]  # its stubs are old


def _checked(answer: Any, kinds: tuple[type, ...], function: Callable[..., Any]) -> Any:
    if not isinstance(answer, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{getattr(function, '__name__', 'a handler')} returned {type(answer).__name__}, not {names}")
    return answer


def _drafted(said: Mapping[str, Any], now: int | None) -> Wish:
    from pydantic import ValidationError

    from ..api.models import WishBody
    from ..drafts import Draft, normalised

    said = normalised(said)
    try:
        WishBody.model_validate(said)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the wish"
        raise usage("bad_wish", f"{where}: {first['msg']}", "The README of node/vendor shows a whole one.") from None
    at = int(time.time()) if now is None else now
    return Wish("", "", at, at + MAX_LIFE, Draft(said, None, at).intent(bytes(32), ()))


def _pattern(text: str) -> str:
    try:
        return check_pattern(text)
    except ValueError as bad:
        raise usage("bad_pattern", str(bad), "Write for example 'mobility.car.**'.") from None


def _trouble(content: bytes) -> Trouble:
    try:
        said = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        said = {}
    return Trouble(str(said.get("code", "failure")), str(said.get("message", content[:200])), str(said.get("hint", "")))


def load_program(text: str) -> Vendor:
    """The shop of `FILE.py` or `FILE.py:name` (`shop` if not said). Runs the file: only name one you trust.

    Raises Trouble."""
    import runpy

    path, _, name = text.partition(".py:")
    file = Path(path if path.endswith(".py") else f"{path}.py")
    if not file.is_file():
        raise usage("no_program", f"there is no program {file}", "Write FILE.py, or FILE.py:name of the Vendor in it.")
    try:
        found = runpy.run_path(str(file), run_name="vendor_program").get(name or "shop")
    except Exception as wrong:
        lines = [frame.lineno for frame in traceback.extract_tb(wrong.__traceback__) if frame.filename == str(file)]
        where = f"{file}:{lines[-1]}" if lines else str(file)
        what = f"{where}: {type(wrong).__name__}: {wrong}"
        raise Trouble("program", what, "Run it with python to see all.") from None
    if not isinstance(found, Vendor):
        raise usage("no_program", f"{file} has no Vendor called {name or 'shop'}", "Write shop = Vendor(...) in it.")
    return found


__all__ = ["Answer", "Context", "Deal", "Decision", "Decline", "Quote", "Vendor", "Wish", "load_program"]
