"""One wish's way, as the nodes of a mesh saw it; outside a mesh, as the one node did."""

from pathlib import Path
from typing import Annotated, Any

import typer

from node.trouble import Trouble, not_found

from .client import Client, check_id
from .options import Home, Json, home_path
from .output import clean, print_json, say, short


def trace(
    id_text: Annotated[str, typer.Argument(metavar="ID", help="A wish, or an offer or contract of one.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Follow one wish: hop by hop, with times, refusals and their reasons, offers and decisions.

    Inside a mesh (intentcast mesh up) all its nodes are asked, whichever of their homes is named, or the mesh's own
    folder. Outside a mesh a node knows nothing but what it saw itself, and nobody can ask the others.

    Example:

    intentcast trace 3f9a2c41 --home /tmp/intentcast-mesh-ab12/person-1
    """
    id_text = check_id(id_text, "a wish, an offer or a contract")
    path = home_path(home)
    from node.town.homes import mesh_of

    mesh = mesh_of(path)
    view = _alone(path, id_text) if mesh is None else _together(mesh, id_text)
    if as_json:
        return print_json(view)
    if not view["mesh"]:
        say("This node sees only itself: what others heard, dropped or decided is not told to it, nor to anybody.")
    began = view["steps"][0]["at"] if view["steps"] else 0.0
    print(f"wish {view['intent']}")
    for step in view["steps"]:
        print(f"{step['at'] - began:+11.3f} s  {clean(step['node']):<14} {clean(words(step))}")
    for decision in view["decisions"]:
        print(f"{'':>13}  {clean(decision['node']):<14} decided: {clean(decision['why'])}")
    for name in view["silent"]:
        say(f"{name} does not run, and was not asked.")
    return None


def words(step: dict[str, Any]) -> str:
    """A step for people."""
    via = f" from {step['via']}" if step.get("via") else ""
    match step["what"]:
        case "said":
            return f"said it ({step['kind']})"
        case "heard":
            return f"heard it{via}, by {step['way']} ({step['kind']})"
        case "refused":
            return f"refused it{via}: {step['reason']}"
        case "published" | "passed on":
            peers = step["peers"]
            return f"{step['what']} to {len(peers)}: {', '.join(peers)}" if peers else f"{step['what']} to nobody yet"
    rest = {name: value for name, value in step.items() if name not in ("at", "what", "node") and value is not None}
    said = [f"{name} {short(value) if _is_id(value) else value}" for name, value in rest.items()]
    return " ".join([step["what"], *said])


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _alone(home: Path, id_text: str) -> dict[str, Any]:
    found = Client(home).get("trace", id_text)
    steps = [{"node": "here", **step} for step in found["steps"]]
    decisions = [{"node": "here", **one} for one in found["decisions"]]
    view = {"intent": found["intent"], "mesh": False, "steps": steps, "decisions": decisions, "silent": []}
    return {**view, "forgotten": found["forgotten"]}


def _together(mesh: dict[str, Path], id_text: str) -> dict[str, Any]:
    """What all nodes of a mesh saw, in the order of time. Who told whom is said with their names."""
    found: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    silent = []
    intent = id_text
    for name, home in mesh.items():
        client = Client(home)
        try:
            names[client.get("status")["peer_id"]] = name
        except Trouble:
            silent.append(name)
            continue
        try:
            found[name] = client.get("trace", id_text)
            intent = found[name]["intent"]
        except Trouble:
            pass  # it never heard of it
    if intent != id_text:  # named by an offer or contract, or a prefix, that others do not know
        for name in set(names.values()) - set(found):
            try:
                found[name] = Client(mesh[name]).get("trace", intent)
            except Trouble:
                continue
    if not found:
        raise not_found(f"no node of this mesh knows {id_text}", "intentcast intents --home FOLDER/NAME lists wishes.")
    steps = [{"node": name, **_named(step, names)} for name, view in found.items() for step in view["steps"]]
    decisions = [{"node": name, **one} for name, view in found.items() for one in view["decisions"]]
    return {
        "intent": intent,
        "mesh": True,
        "steps": sorted(steps, key=lambda step: float(step["at"])),
        "decisions": decisions,
        "silent": silent,
        "forgotten": sum(view["forgotten"] for view in found.values()),
    }


def _named(step: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    named = dict(step)
    if "via" in step:
        named["via"] = names.get(step["via"], step["via"])
    if "peers" in step:
        named["peers"] = [names.get(peer, peer) for peer in step["peers"]]
    return named
