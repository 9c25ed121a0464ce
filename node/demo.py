"""The founding scenario, played by real nodes in processes of their own, on this computer alone.

A meeting point, four car vendors (one without a 4x4, one over the person's private limit, two that compete), a plumber
and a person. Each is an ordinary `intentcast up` with a home of its own; this file only starts them, speaks for the
person through her node's API, looks what the others know, and ends them.
"""

import json
import signal
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from .cli.money import show_money
from .cli.output import console
from .home import Home, write_file
from .town.processes import NodeProcess, open_folder, start_process, troupe
from .trouble import Exit, Trouble

NET = "demo"
READY_SECONDS = 40.0
"""For a node to be ready: it imports for a second, and seven share the cores."""

OFFER_SECONDS = 20.0
CONFIRM_SECONDS = 15.0
LIMIT = {"minor": 40000, "currency": "EUR"}
"""What the person would pay at most. It never leaves her node."""


@dataclass(frozen=True)
class Part:
    """Somebody in the play."""

    name: str
    role: str
    says: str
    catalogue: str | None = None

    @property
    def folder(self) -> str:
        return self.name.lower().replace(" ", "-")


def _car_shop(name: str, contact: str, title: str, drive: str, price: str, extra: str = "") -> str:
    return f'''# A vendor of the demo.
name = "{name}"
contact = "{contact}"
categories = ["mobility.car.**"]
currency = "EUR"
valid_for = "12h"

[items.car]
title = "{title}"
category = "mobility.car"
action = "rent"
places = ["iata:LYS"]
price = "{price}"
per = "day"
stock = 2
fees = [{{ name = "Airport desk", amount = "24.00" }}]

[items.car.properties]
body = "suv"
drive = "{drive}"
seats = 5
{extra}
'''


CAST = (
    Part("Meeting Point", "meeting", "joins every division, so that the others find each other"),
    Part(
        "Alpine Cars",
        "vendor",
        "a 4x4 with winter tyres at Lyon Airport",
        _car_shop(
            "Alpine Cars",
            "+33 4 00 00 01 01, desk 7, terminal 1",
            "Dacia Duster 4x4",
            "awd",
            "54.00",
            "winter_tyres = true\nski_rack = true",
        ),
    ),
    Part(
        "Rhone Mobility",
        "vendor",
        "a 4x4 as well, a little cheaper, without winter tyres",
        _car_shop(
            "Rhone Mobility", "desk@rhone.example", "Suzuki Vitara AllGrip", "awd", "51.00", "winter_tyres = false"
        ),
    ),
    Part(
        "Budget Wheels",
        "vendor",
        "has an SUV, but no 4x4: stays silent",
        _car_shop("Budget Wheels", "hello@budget.example", "Peugeot 2008", "fwd", "29.00", "winter_tyres = true"),
    ),
    Part(
        "Chamonix Premium",
        "vendor",
        "has the best car, over the person's private limit",
        _car_shop(
            "Chamonix Premium",
            "concierge@premium.example",
            "Volvo XC90 AWD",
            "awd",
            "129.00",
            "winter_tyres = true\nski_rack = true",
        ),
    ),
    Part(
        "Petit Plombier",
        "vendor",
        "a plumber: listens to another division and hears nothing of it",
        """# A vendor of the demo.
name = "Petit Plombier"
contact = "06 00 00 00 00"
categories = ["home.plumbing.**"]
currency = "EUR"
valid_for = "12h"

[items.visit]
title = "A plumber comes by"
category = "home.plumbing"
action = ["hire", "repair"]
places = "anywhere"
price = "90.00"
per = "job"
""",
    ),
    Part("Ana", "person", "wants a 4x4 from Lyon Airport"),
)


@dataclass(kw_only=True)
class Actor(NodeProcess):
    """A part, played by a process."""

    part: Part


class Story:
    """The timeline, told to whoever watches: people on stdout, or on stderr beside a JSON document."""

    def __init__(self, as_json: bool) -> None:
        self._console = console(stderr=as_json)
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def tell(self, text: str) -> None:
        self._console.print(f"{self.seconds:5.1f} s  {text}", soft_wrap=True)

    def show(self, thing: Any) -> None:
        self._console.print(thing)


def run(as_json: bool, keep: Path | None) -> int:
    """Play it; gives the exit code. Raises Trouble. Leaves no process behind, however it ends."""
    signal.signal(signal.SIGTERM, _interrupt)
    story = Story(as_json)
    actors: list[Actor] = []
    try:
        with open_folder(keep, "intentcast-demo-") as folder, troupe(actors):
            document = _play(story, folder, actors)
            document["seconds"] = round(story.seconds, 1)
            if keep is not None:
                story.tell(f"The homes stay in {folder}.")
    except KeyboardInterrupt:
        raise Trouble(
            "interrupted", "the play was broken off, and all its nodes are ended", "", Exit.INTERRUPTED
        ) from None
    if as_json:
        print(json.dumps(document), flush=True)
    return Exit.OK


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _play(story: Story, folder: Path, actors: list[Actor]) -> dict[str, Any]:
    story.tell("Seven nodes start, each a process of its own, on loopback.")
    meeting = _start(actors, CAST[0], folder, join=None)
    meeting.wait_ready(time.monotonic() + READY_SECONDS)
    address = meeting.ready["addresses"][0]
    others = [_start(actors, part, folder, join=address) for part in CAST[1:]]
    deadline = time.monotonic() + READY_SECONDS
    for actor in others:
        actor.wait_ready(deadline)
    for actor in actors:
        story.tell(f"  {actor.part.name} ({actor.part.role}): {actor.part.says}")
    ana = others[-1]
    vendors = [actor for actor in others if actor.part.role == "vendor"]
    _wait_linked(vendors, deadline)
    wish = _wish()
    story.tell(f'Ana asks: "{wish["title"]}"')
    story.tell(f"  PUBLIC: what, where and when. STAYS HERE: she would pay {show_money(LIMIT)} at most.")
    asked = ana.client.post("ask", body={"wish": wish, "reach_wait": 20}, wait=20)
    intent = asked["intent"]
    story.tell(f"  wish {intent['id'][:12]} was written to {asked['reached']} peer(s)")
    found = _wait_offers(ana, intent["id"], story)
    offers, hidden = found["offers"], found["hidden"]
    story.show(_offers_table(offers))
    if not offers:
        raise Trouble("demo", "no offer came", "This should not happen: please tell us.", Exit.NOTHING_CAME)
    best = offers[0]
    story.tell(f"{hidden} offer over her limit came too, is hidden and counted: nobody was told the limit.")
    story.tell(f"Ana accepts {best['vendor']['name']}: {show_money(best['total'])}.")
    body = {"contact": "Ana, +33 6 00 00 00 00", "options": [], "wait": CONFIRM_SECONDS}
    contract = ana.client.post("offers", best["id"], "accept", body=body, wait=CONFIRM_SECONDS)["contract"]
    if contract["state"] != "confirmed":
        raise Trouble("demo", f"the contract is {contract['state']}", "", Exit.NOTHING_CAME)
    winner = next(actor for actor in vendors if actor.part.name == best["vendor"]["name"])
    theirs = winner.client.get("show", contract["id"])["contract"]
    story.show(_contract_table(contract, theirs, winner.part.name))
    nodes, silent = _curtain(actors, vendors, story)
    after = ana.client.get("wishes", intent["id"], "offers")
    return {
        "intent": after["intent"],
        "nodes": nodes,
        "offers": after["offers"],
        "hidden": after["hidden"],
        "silent": silent,
        "contract": {**contract, "id": contract["id"], "requester": "Ana", "vendor": winner.part.name},
    }


def _start(actors: list[Actor], part: Part, folder: Path, join: str | None) -> Actor:
    home = Home(folder / part.folder)
    home.make(NET, fixed_port=False)
    if part.catalogue is not None:
        write_file(home.path / "catalogue.toml", part.catalogue.encode())
    flags = ["--meeting"] if part.role == "meeting" else []
    if join is not None:
        flags += ["--join", join]
    process, log = start_process(home.path, flags)
    actor = Actor(name=part.name, home=home.path, process=process, log=log, part=part)
    actors.append(actor)
    return actor


def _wish() -> dict[str, Any]:
    today = date.today()
    year = today.year if today < date(today.year, 3, 15) else today.year + 1
    return {
        "action": "rent",
        "category": "mobility.car",
        "title": "A 4-wheel-drive SUV from Lyon Airport, for skiing in the French Alps",
        "props": [
            {"name": "body", "op": "eq", "value": "suv", "need": "must"},
            {"name": "drive", "op": "eq", "value": "4x4", "need": "must"},
            {"name": "winter_tyres", "op": "eq", "value": "yes", "need": "want", "weight": 80},
        ],
        "when": {"start": f"{year}-03-20T10:00", "end": f"{year}-03-25T18:00", "tz": "Europe/Paris"},
        "where": {"at": {"code": "iata:LYS", "label": "Lyon Airport"}},
        "limit_private": LIMIT,
    }


def _wait_linked(vendors: list[Actor], deadline: float) -> None:
    """Until every vendor is linked to somebody: the play is about the market, not about starting up."""
    for vendor in vendors:
        while not vendor.client.get("peers")["peers"]:
            if time.monotonic() > deadline:
                raise Trouble("demo", f"{vendor.part.name} found nobody")
            time.sleep(0.05)


def _wait_offers(ana: Actor, intent: str, story: Story) -> dict[str, Any]:
    """Watch offers come in, until the three that can come are here."""
    deadline = time.monotonic() + OFFER_SECONDS
    told: set[str] = set()
    while True:
        found = ana.client.get("wishes", intent, "offers", include_hidden="true")
        for offer in found["offers"]:
            if offer["id"] not in told:
                told.add(offer["id"])
                mark = "  (over her limit: hidden)" if offer["state"] == "over_limit" else ""
                story.tell(f"  {offer['vendor']['name']} offers {show_money(offer['total'])}{mark}")
        if len(told) >= 3 or time.monotonic() > deadline:
            return ana.client.get("wishes", intent, "offers")
        time.sleep(0.1)


def _curtain(actors: list[Actor], vendors: list[Actor], story: Story) -> tuple[list[dict[str, Any]], list[str]]:
    """What everybody knows at the end, by his own counter."""
    nodes, silent = [], []
    for actor in actors:
        status = actor.client.get("status")
        nodes.append(
            {
                "name": actor.part.name,
                "role": actor.part.role,
                "peer_id": actor.ready["peer_id"],
                "pid": actor.process.pid,
                "home": str(actor.home),
                "heard": status["heard"],
            }
        )
        if actor in vendors and not actor.client.get("offers")["offers"]:
            silent.append(actor.part.name)
    plumber = next(node for node in nodes if node["name"] == "Petit Plombier")
    story.tell(f"Silent: {', '.join(silent)}. The plumber heard {plumber['heard']} wishes: not his division.")
    return nodes, silent


def _offers_table(offers: list[dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Offers, best first (by Ana's own wishes)", title_justify="left")
    for name in ("vendor", "total", "what", "meets", "deviates"):
        table.add_column(name)
    for offer in offers:
        deviates = ", ".join(f"{d['name']}: {d.get('offered', '?')}" for d in offer["deviates"]) or "-"
        cells = (
            offer["vendor"]["name"],
            show_money(offer["total"]),
            offer["lines"][0]["title"],
            ", ".join(offer["meets"]),
            deviates,
        )
        table.add_row(*map(Text, cells))
    return table


def _contract_table(ours: dict[str, Any], theirs: dict[str, Any], vendor: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="The contract, as both sides hold it", title_justify="left")
    table.add_column("")
    table.add_column("Ana's node")
    table.add_column(f"{vendor}'s node")
    for name in ("id", "state", "offer", "requester_contact", "vendor_contact", "reference"):
        cells = (str(side.get(name, "")) for side in (ours, theirs))
        table.add_row(name, *(Text(cell if len(cell) <= 44 else f"{cell[:24]}...{cell[-8:]}") for cell in cells))
    return table
