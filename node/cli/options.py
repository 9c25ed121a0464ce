"""Options that many commands share. `--home` and `--json` may stand before or after the command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .client import Client


def _or_before(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """What was said after the command, or else before it."""
    return value or ctx.find_root().params.get(param.name or "")


Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        callback=_or_before,
        show_default=False,
        help="The node's home. Without it: INTENTCAST_HOME, or the system's place for user data.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", callback=_or_before, help="Print one JSON document on stdout, for scripts.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")]


def home_path(named: Path | None) -> Path:
    if named is not None:
        return named.expanduser().absolute()
    from node.home import default_home

    return default_home().absolute()


def client_of(named: Path | None) -> Client:
    return Client(home_path(named))
