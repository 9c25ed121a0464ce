"""Many nodes on this computer: to play with, and to test with."""

from pathlib import Path
from typing import Annotated

import typer

from node.trouble import Exit, usage

from .files import check_writable
from .options import Json
from .output import print_json, say

ScenarioFile = Annotated[Path, typer.Argument(metavar="FILE", help="A scenario (TOML), or the name of one in the box.")]


def up(
    nodes: Annotated[int | None, typer.Option("--nodes", metavar="N", help="How many (8).")] = None,
    vendors: Annotated[
        int | None, typer.Option("--vendors", metavar="N", help="How many of them sell (3, or one of three).")
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="In one process, on a network in memory (default).")] = False,
    libp2p: Annotated[bool, typer.Option("--libp2p", help="In one process, on libp2p over loopback.")] = False,
    process: Annotated[bool, typer.Option("--process", help="Each in a process of its own, over loopback.")] = False,
    topology: Annotated[
        str | None,
        typer.Option("--topology", metavar="SHAPE", help="star (default), ring, random, or a file of pairs of names."),
    ] = None,
    delay: Annotated[str | None, typer.Option("--delay", metavar="TIME", help="Of every link, one way: 80ms.")] = None,
    loss: Annotated[str | None, typer.Option("--loss", metavar="SHARE", help="What must be sent again: 5%.")] = None,
    partition: Annotated[
        str | None, typer.Option("--partition", metavar="A|B@T", help="person-1|vendor-1@30s, or ...@30s-90s to heal.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="For everything that is drawn.")] = None,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="Nodes, steps and what must hold, in TOML.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the scenario has been played; 1 if it fails.")] = False,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Put the homes there, and leave them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a mesh of whole nodes until Ctrl-C, and show how each is. Nothing stays behind.

    Each has a home of its own, so that every command can speak to it: intentcast ask --home FOLDER/person-1 ...

    Examples:

    intentcast mesh up --nodes 20 --vendors 5

    intentcast mesh up --nodes 20 --vendors 5 --topology ring --delay 80ms --loss 5%

    intentcast mesh up --scenario sold-out.toml --once
    """
    from node.town.live import Kind, Wanted, run
    from node.town.plan import plan, worse
    from node.town.scenario import find, load_scenario

    if memory + libp2p + process > 1:
        raise usage("kind", "only one of --memory, --libp2p and --process", "Leave out the others.")
    kind = Kind.PROCESS if process else Kind.LIBP2P if libp2p else Kind.MEMORY
    if scenario is not None:
        for flag, said in (("nodes", nodes), ("vendors", vendors), ("topology", topology)):
            if said is not None:
                hint = f"Leave out --{flag}, or write other [nodes]: intentcast mesh scenario NAME > mine.toml"
                raise usage(flag, f"--{flag} does not go with --scenario, whose file says who is there", hint)
        story = load_scenario(find(scenario), worse(delay, loss, partition, seed))
    elif once:
        raise usage("once", "--once ends with the scenario, and there is none", "Add --scenario FILE.")
    else:
        count = 8 if nodes is None else nodes
        sell = min(3, count // 3) if vendors is None else vendors
        shape = topology or "star"
        story = plan(count, sell, shape, delay=delay, loss=loss, partition=partition, seed=1 if seed is None else seed)
    if kind is not Kind.MEMORY and (fault := story.needs_memory) is not None:
        raise usage("kind", f"{fault}: only the network in memory has that", f"Leave out --{kind}.")
    raise typer.Exit(run(Wanted(story, kind, keep, as_json, once)))


def play(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scenarios.")], as_json: Json = False
) -> None:
    """Play scenarios in virtual time: days take as long as their work. Ends with 1 if something does not hold.

    Names without a path are those of the box: intentcast mesh scenarios.

    Example:

    intentcast mesh play first-deal my-bot.toml
    """
    from node.logs import configure_logging
    from node.town.live import outcome_view
    from node.town.play import play_fast
    from node.town.scenario import find, load_scenario

    configure_logging("error")
    failed = False
    for file in files:
        outcome = play_fast(load_scenario(find(file)))
        failed |= bool(outcome.wrong)
        if as_json:
            print_json(outcome_view(outcome, file.stem))
            continue
        for moment in outcome.done:
            print(f"{moment.at:10.1f} s  {moment.words}")
        for wrong in outcome.wrong:
            print(f"NOT SO      {wrong}")
        print(f"{'FAILED' if outcome.wrong else 'holds'}: {file.stem}: {outcome.story}")
    raise typer.Exit(Exit.FAILURE if failed else Exit.OK)


def scenarios(as_json: Json = False) -> None:
    """List the scenarios in the box, each with its story.

    Example:

    intentcast mesh scenarios
    """
    from node.town.scenario import box, load_scenario

    stories = {path.stem: load_scenario(path).story for path in box()}
    if as_json:
        return print_json({"scenarios": stories})
    for name, story in stories.items():
        print(f"{name:<24} {story}")
    return say("Read one: intentcast mesh scenario NAME")


def scenario(file: ScenarioFile) -> None:
    """Print a scenario of the box, to begin one of your own with.

    Example:

    intentcast mesh scenario first-deal > mine.toml
    """
    from node.town.scenario import find

    print(find(file).read_text(encoding="utf-8"), end="")


def record(
    file: ScenarioFile,
    to: Annotated[Path, typer.Argument(metavar="RECORD", help="Where to write it.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite RECORD.")] = False,
    as_json: Json = False,
) -> None:
    """Play a scenario in virtual time, and write down every event of every node: `replay` plays the very same again.

    Example:

    intentcast mesh record my-bug.toml my-bug.record
    """
    from node.logs import configure_logging
    from node.town.record import record as play_and_record
    from node.town.record import write_record
    from node.town.scenario import find

    check_writable(to, force)
    configure_logging("error")
    found = play_and_record(find(file))
    write_record(found, to)
    events = sum(map(len, found.events.values()))
    if as_json:
        return print_json({"file": str(to), "nodes": len(found.events), "events": events, "wrong": found.wrong})
    print(to)
    for wrong in found.wrong:
        say(f"NOT SO: {wrong}")
    return say(f"{events} events of {len(found.events)} nodes. Again: intentcast mesh replay {to}")


def replay(
    file: Annotated[Path, typer.Argument(metavar="RECORD", help="What record wrote.")], as_json: Json = False
) -> None:
    """Play a record again, and compare event by event. Ends with 1 at a difference, and names each node's first.

    Example:

    intentcast mesh replay my-bug.record
    """
    from node.logs import configure_logging
    from node.town.record import read_record
    from node.town.record import replay as play_again

    configure_logging("error")
    before = read_record(file)
    different = play_again(before, str(file))
    if as_json:
        print_json({"same": not different, "different": different, "wrong": before.wrong})
    else:
        for line in different:
            print(line)
        say("Something is different: another version of the program, or a bug." if different else "The very same.")
    raise typer.Exit(Exit.FAILURE if different else Exit.OK)
