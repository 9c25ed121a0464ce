"""Figures for Prometheus: read by its own parser, explained, and what the dashboard asks for is there."""

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

import node.api
from node.api.metrics import CONTENT_TYPE, metrics_text
from tests.driver import SKIING, car_hire, open_town, wait_offers, wait_settled
from tests.node.paper_desk import PaperDesk
from tests.node.test_api import ask, served

ROOM = Path(node.api.__file__).parent


async def test_a_deal_shows_in_the_figures(clock: MockClock) -> None:
    """What the status counts is what Prometheus reads; a thing without a figure is left out, not zero."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_offers(alice, intent, 1)
        await wait_settled(bob)
        status = await bob.desk.status()
        families = {family.name: family for family in text_string_to_metric_families(metrics_text(status, 0.002))}
    values = {(sample.name, *sample.labels.values()): sample.value for f in families.values() for sample in f.samples}
    assert values["intentcast_frames_total", "accepted"] == 1
    assert values["intentcast_events_total", "vendor", "offered"] == 1
    assert values["intentcast_peers",] == status["peers"]
    assert values["intentcast_mesh_peers", "mobility"] >= 1
    assert values["intentcast_outbox_age_seconds",] == 0
    assert values["intentcast_loop_turn_seconds",] == 0.002
    assert "intentcast_clock_ahead_seconds" not in families
    assert all(family.documentation for family in families.values())

    readme = (ROOM / "README.md").read_text("utf-8")
    for name in families:
        if name.startswith("intentcast_"):
            assert f"`{name}" in readme, "one line for each"
    dashboard = json.loads((ROOM / "dashboard.json").read_text("utf-8"))
    asked = {name for panel in dashboard["panels"] for target in panel["targets"]
             for name in re.findall(r"\b(?:intentcast|process)_[a-z_]+", target["expr"])}  # fmt: skip
    known = {sample.name for family in families.values() for sample in family.samples}
    assert asked <= known | {"intentcast_clock_ahead_seconds", "intentcast_disk_free_bytes"}
    assert len(asked) > 10
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    exprs = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {label for expr in exprs for label in re.findall(r"[{,](\w+)=", expr) + re.findall(r"by \((\w+)\)", expr)}
    assert used <= labels | {"instance"}, "instance is Prometheus' own"


def test_the_dashboard_is_one_grafana_can_show() -> None:
    """Panels have ids of their own and places of their own on a grid of 24, and ask the data source that is chosen."""
    dashboard = json.loads((ROOM / "dashboard.json").read_text("utf-8"))
    assert {"title", "uid", "schemaVersion", "time", "templating", "panels"} <= set(dashboard)
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert (variables["source"]["type"], variables["source"]["query"]) == ("datasource", "prometheus")
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert cells
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        named = {name for target in panel["targets"] for name in re.findall(r"\$\{?(\w+)", target["expr"])}
        assert named <= set(variables) | {"__rate_interval"}


async def test_they_are_served(tmp_path: Path) -> None:
    """Over the node's socket, as text; what a stranger's browser sends does not reach it, for it is a file."""
    path = tmp_path / "node.sock"
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        desk = PaperDesk()
        desk.status = market.desk.status  # type: ignore[method-assign]
        async with served(desk, path):
            from tests.node.test_api import Visitor

            visitor = await Visitor.at(path)
            async with visitor.stream:
                await visitor.stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                text = b""
                while chunk := await visitor.stream.receive_some():
                    text += chunk
        head, _, body = text.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert CONTENT_TYPE.encode() in head
        assert b"# HELP intentcast_peers" in body
    assert (await _status_of_nothing(tmp_path)) == 404


async def _status_of_nothing(tmp_path: Path) -> int:
    async with served(PaperDesk(), tmp_path / "other.sock"):
        status, _, _ = await ask(tmp_path / "other.sock", "GET", "/metric")
    return status
