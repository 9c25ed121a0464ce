"""What a mesh is made of, and what happens in it: the scenario file.

A scenario is TOML: nodes, the weather between them, steps one after the other, and what holds at the end. README.md
here has all of it on one page. `intentcast mesh up --nodes 20` is a scenario as well, one without steps (plan.py).
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from node.api.models import Strict
from node.network.memory import Conditions
from node.trouble import Trouble, usage

MAX_FILE: Final = 1 << 20
"""Bytes of a scenario file."""

MAX_NODES: Final = 200
"""In one process. Beyond it the simulator of routers is the better tool."""

_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def read_span(text: Any) -> float:
    """`80ms`, `30s`, `2h`, `1d12h` -> seconds. Raises ValueError."""
    plain = text.strip().lower() if isinstance(text, str) else ""
    parts = _SPAN.findall(plain)
    if not parts or _SPAN.sub("", plain):
        raise ValueError(f"{text!r} is no span of time: write 80ms, 30s, 10m, 2h or 1d12h")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def read_signed_span(text: Any) -> float:
    """The same, with an optional sign: how far a clock is wrong."""
    plain = text.strip() if isinstance(text, str) else text
    if isinstance(plain, str) and plain[:1] in ("-", "+"):
        return -read_span(plain[1:]) if plain[0] == "-" else read_span(plain[1:])
    return read_span(plain)


def read_share(text: Any) -> float:
    """`5%` or `0.05` -> 0.05. Raises ValueError."""
    try:
        share = float(text[:-1]) / 100 if isinstance(text, str) and text.endswith("%") else float(text)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share < 1:
        raise ValueError(f"{text!r} is no share: write 5% or 0.05, and less than all")
    return share


Span = Annotated[float, BeforeValidator(read_span)]
SignedSpan = Annotated[float, BeforeValidator(read_signed_span)]
Share = Annotated[float, BeforeValidator(read_share)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Words = Annotated[str, Field(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=0, le=100_000)]
ListFile = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\.csv$")]


def _with_span(said: dict[str, Any]) -> dict[str, Any]:
    """A file cannot know the hour at which it is played: until when offers are collected is a span in it."""
    return {**said, "offers_by": read_span(said["offers_by"])} if "offers_by" in said else said


Said = Annotated[dict[str, Any], AfterValidator(_with_span)]
"""Of a wish, as the API has it; `offers_by`: seconds from when it is said."""


# ---------------------------------------------------------------------------------------------------- who and where


class Weather(Strict):
    """How links are, in both directions."""

    delay: Span = 0.0
    jitter: Span = 0.0
    loss: Share = 0.0
    breaks: Share = 0.0

    @property
    def conditions(self) -> Conditions:
        return Conditions(delay=self.delay, jitter=self.jitter, loss=self.loss, breaks=self.breaks)


class CarHire(Strict):
    """The sample shop (samples.py): a 4x4 at Lyon Airport, for six days at this price a day."""

    price: Annotated[str, Field(pattern=r"^\d{1,6}\.\d\d$")] = "48.00"
    stock: Annotated[int, Field(ge=1, le=1000)] = 3


class NodeSpec(Strict):
    """One node. What is not said is a person's."""

    meeting: bool = False
    mailbox: bool = False
    mailboxes: Annotated[list[Name], Field(max_length=3)] = Field(default_factory=list)
    join: list[Name] | None = None
    """Whom it starts from; by default the first node."""
    divisions: list[Name] = Field(default_factory=list)
    """What it listens to besides its catalogue."""
    sells: CarHire | None = None
    catalogue: Annotated[str, Field(max_length=65_536)] | None = None
    """The text of a catalogue.toml."""
    lists: Annotated[dict[ListFile, Annotated[str, Field(max_length=65_536)]], Field(max_length=8)] = Field(
        default_factory=dict
    )
    """The price lists that the catalogue names: file -> its text."""
    skew: SignedSpan = 0.0
    """How far its clock is ahead."""
    absent: bool = False
    """Comes only when a step starts it."""

    @model_validator(mode="after")
    def _lists_have_a_catalogue(self) -> "NodeSpec":
        if self.lists and self.catalogue is None:
            raise PydanticCustomError(
                "no_catalogue", "lists belong to a catalogue, which names them: add catalogue = ..."
            )
        return self

    @property
    def role(self) -> str:
        if self.meeting:
            return "meeting"
        if self.sells is not None or self.catalogue is not None:
            return "vendor"
        return "mailbox" if self.mailbox else "person"


# ----------------------------------------------------------------------------------------------------- what happens


class Step(Strict):
    at: Span | None = None
    """Not before so long after the beginning."""
    refused: Words | None = None
    """It must be refused, with this code."""


class Ask(Step):
    """A wish: the founding one, with what `say` changes."""

    does: Literal["ask"]
    who: Name
    wish: Name = "wish"
    say: Said = Field(default_factory=dict)


class Update(Step):
    does: Literal["update"]
    who: Name
    wish: Name = "wish"
    say: Said


class Offer(Step):
    """By hand; waits until the wish was heard."""

    does: Literal["offer"]
    who: Name
    wish: Name = "wish"
    price: Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,3})? [A-Z]{3}$")] = "412.00 EUR"
    say: dict[str, Any] = Field(default_factory=dict)
    within: Span = 60.0


class Accept(Step):
    """Waits until the offer is here; `wait`: for the vendor's answer."""

    does: Literal["accept"]
    who: Name
    wish: Name = "wish"
    by: Name
    options: list[Words] = Field(default_factory=list)
    wait: Span = 0.0
    within: Span = 60.0


class Decline(Step):
    does: Literal["decline"]
    who: Name
    wish: Name = "wish"
    by: Name
    reason: Words | None = None
    within: Span = 60.0


class Withdraw(Step):
    """Its author withdraws the wish; a vendor its offer."""

    does: Literal["withdraw"]
    who: Name
    wish: Name = "wish"
    reason: Words | None = None


class Stop(Step):
    does: Literal["stop", "crash"]
    who: Name


class Start(Step):
    does: Literal["start"]
    who: Name
    address: Annotated[str, Field(max_length=100)] | None = None
    """Somewhere else than before."""


class Partition(Step):
    """Who is in no group is with the others who are in none."""

    does: Literal["partition"]
    groups: Annotated[list[list[Name]], Field(min_length=1)]
    notice: Span = 0.0
    """Links across break after so long a silence."""


class Heal(Step):
    does: Literal["heal"]


class Change(Weather, Step):
    """Other weather: between two, or for everybody."""

    does: Literal["weather"]
    between: Annotated[list[Name], Field(min_length=2, max_length=2)] | None = None


class SetClock(Step):
    does: Literal["set-clock"]
    who: Name
    skew: SignedSpan


class Pass(Step):
    """Time passes for everybody."""

    does: Literal["pass"]
    time: Span


class Sleep(Step):
    """Every machine sleeps: the hour moves on and nobody does anything."""

    does: Literal["sleep"]
    time: Span


class Condition(Strict):
    """Something that one node can see. Whatever is named must be so."""

    who: Name
    wish: Name | None = None
    by: Name | None = None
    """The vendor of an offer."""
    state: Words | None = None
    """Of the wish, as `who` sees it; unheard if it knows nothing of it."""
    heard: bool | None = None
    offers: Count | None = None
    hidden: Count | None = None
    sealed: Count | None = None
    """Offers that nobody may look at before the hour of `offers_by`."""
    best: Name | None = None
    """Whose offer stands first."""
    offer: Words | None = None
    """State of the offer of `by`; none if there is none."""
    price: Words | None = None
    total: Words | None = None
    """What the contract comes to, with fees and the options that were chosen."""
    reason: Words | None = None
    """Why the offer ended."""
    told: Words | None = None
    """What the vendor was told, or heard, of how the wish ended."""
    why: Words | None = None
    """Words in what the vendor says it made of the wish."""
    offers_made: Count | None = None
    contracts: Count | None = None
    """Confirmed ones, over all wishes."""
    delivery: Words | None = None
    """How far what `who` said last in the thread of this offer has come."""
    settled: bool | None = None
    """Nothing of its own waits for an acknowledgement."""
    warned: bool | None = None
    """It tells its owner that the clock is wrong."""
    peers: Count | None = None
    """At least so many."""
    within: Span = 60.0

    @model_validator(mode="after")
    def _says_something(self) -> "Condition":
        said = {name for name in FACTS if getattr(self, name) is not None}
        if not said:
            raise PydanticCustomError("empty", "nothing is asked: name one of {known}", {"known": ", ".join(FACTS)})
        if self.wish is None and said - {"offers_made", "contracts", "settled", "warned", "peers"}:
            raise PydanticCustomError("no_wish", "of which wish? Add wish = ...")
        if self.by is None and said & {"offer", "price", "total", "reason", "told", "delivery"}:
            raise PydanticCustomError("no_vendor", "whose offer? Add by = ...")
        return self

    @property
    def words(self) -> str:
        about = " ".join(filter(None, (self.wish, f"by {self.by}" if self.by else "")))
        said = ", ".join(f"{name} = {getattr(self, name)}" for name in FACTS if getattr(self, name) is not None)
        return f"{self.who}: {about + ': ' if about else ''}{said}"


FACTS: Final = (
    "state", "heard", "offers", "hidden", "sealed", "best", "offer", "price", "total", "reason", "told", "why",
    "offers_made", "contracts", "delivery", "settled", "warned", "peers",
)  # fmt: skip


class Wait(Condition, Step):
    """Until something is so."""

    does: Literal["wait"]


Does = (
    Ask | Update | Offer | Accept | Decline | Withdraw | Stop | Start | Partition | Heal | Change | SetClock | Pass
    | Sleep | Wait
)  # fmt: skip


class Scenario(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    story: Words
    """What is true at the end, in a sentence."""
    seed: Annotated[int, Field(ge=0, le=2**32)] = 1
    weather: Weather = Weather()
    nodes: Annotated[dict[Name, NodeSpec], Field(min_length=1, max_length=MAX_NODES)]
    steps: list[Annotated[Does, Field(discriminator="does")]] = Field(default_factory=list)
    meanwhile: list[Annotated[Partition | Heal | Change, Field(discriminator="does")]] = Field(default_factory=list)
    """What the network does at its hour, whichever step it is then."""
    holds: list[Condition] = Field(default_factory=list)

    @model_validator(mode="after")
    def _know_everybody(self) -> "Scenario":
        wishes: set[str] = set()
        for number, step in enumerate(self.steps, 1):
            for name in _people_in(step):
                self._check(name, f"step {number} ({step.does})")
            if isinstance(step, Ask):
                if step.wish in wishes:
                    raise PydanticCustomError("wish_twice", f"step {number}: there is a wish {step.wish!r} already")
                wishes.add(step.wish)
            elif (wish := getattr(step, "wish", None)) is not None and wish not in wishes:
                raise PydanticCustomError("no_wish", f"step {number} ({step.does}): nobody has asked {wish!r} before")
        for number, fault in enumerate(self.meanwhile, 1):
            if fault.at is None:
                raise PydanticCustomError("no_hour", f"meanwhile, {number} ({fault.does}): when? Add at = ...")
            for name in _people_in(fault):
                self._check(name, f"meanwhile, {number} ({fault.does})")
        for number, hold in enumerate(self.holds, 1):
            for name in _people_in(hold):
                self._check(name, f"holds, the {number}. line")
            if hold.wish is not None and hold.wish not in wishes:
                raise PydanticCustomError("no_wish", f"holds, the {number}. line: nobody asks {hold.wish!r}")
        before: set[str] = set()
        for name, spec in self.nodes.items():
            for other in (*(spec.join or ()), *spec.mailboxes):
                self._check(other, f"nodes.{name}")
                if other not in before:
                    raise PydanticCustomError("order", f"nodes.{name}: {other!r} must stand above it in the file")
            before.add(name)
        return self

    def starts_from(self, name: str) -> list[str]:
        """Whom a node joins when it comes: those it names, or else the first that is there from the beginning."""
        named = self.nodes[name].join
        if named is not None:
            return named
        first = [other for other, spec in self.nodes.items() if not spec.absent][:1]
        return [other for other in first if other != name]

    @property
    def needs_memory(self) -> str | None:
        """What of it only the network in memory can do, in words; None: nothing."""
        if self.weather != Weather():
            return "weather"
        if skewed := next((name for name, spec in self.nodes.items() if spec.skew), None):
            return f"the clock of {skewed}"
        everything = [*self.steps, *self.meanwhile]
        steps = (step.does for step in everything if isinstance(step, Partition | Heal | Change | SetClock | Sleep))
        return next(steps, None)

    def _check(self, name: str, where: str) -> None:
        if name not in self.nodes:
            near = difflib.get_close_matches(name, self.nodes, n=1, cutoff=0.5)
            rest = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.nodes)}"
            raise PydanticCustomError("nobody", f"{where}: there is no node {name!r}; {rest}")


def _people_in(said: Step | Condition) -> list[str]:
    names = [name for field in ("who", "by", "best") if (name := getattr(said, field, None)) is not None]
    names += getattr(said, "between", None) or []
    return names + [name for group in getattr(said, "groups", ()) for name in group]


def box() -> list[Path]:
    """The scenarios that come with the program."""
    return sorted((Path(__file__).parent / "scenarios").glob("*.toml"))


def find(file: Path) -> Path:
    """A file, or the scenario of the box that has this name. Raises Trouble."""
    if file.exists() or len(file.parts) != 1:
        return file
    names = {path.stem: path for path in box()}
    if file.stem not in names:
        near = difflib.get_close_matches(file.stem, names, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else "Those in the box: intentcast mesh scenarios"
        raise usage("scenario", f"there is no file {file}, and no scenario of that name in the box", hint)
    return names[file.stem]


def load_scenario(path: Path, instead: Mapping[str, Any] | None = None) -> Scenario:
    """Read a scenario file; `instead`: tables that stand before its own. Raises Trouble that says what is wrong, where,
    and how to mend it."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as wrong:
        raise usage("scenario", f"{path} cannot be read: {wrong.strerror}", "Name a scenario file (TOML).") from None
    if len(data) > MAX_FILE:
        raise usage("scenario", f"{path} is larger than {MAX_FILE >> 20} MiB", "That is no scenario.")
    return read_scenario(data, str(path), instead)


def read_scenario(data: bytes, where: str, instead: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario in these bytes; `where` names them in what goes wrong. Raises Trouble."""
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as wrong:
        raise _wrong(where, f"is not UTF-8 text ({wrong})") from None
    except tomllib.TOMLDecodeError as wrong:
        raise _wrong(where, f"is no TOML: {wrong}") from None
    for name, said in (instead or {}).items():
        own = table.get(name)
        table[name] = {**own, **said} if isinstance(own, dict) and isinstance(said, dict) else said
    return scenario_of(table, where)


def scenario_of(table: dict[str, Any], where: str) -> Scenario:
    """The same of a table already read. Raises Trouble."""
    try:
        return Scenario.model_validate(table)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        path = " ".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        said = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "union_tag_invalid":
            said = f"does = {first['ctx']['tag']!r} is none of {first['ctx']['expected_tags'].replace(chr(39), '')}"
        raise _wrong(where, f"{path}: {said}" if path else said) from None


def _wrong(where: str, what: str) -> Trouble:
    return usage("scenario", f"{where}: {what}", "One to begin with: intentcast mesh scenario first-deal")
