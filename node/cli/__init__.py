"""The command line. Client commands and --help stay light: neither libp2p nor the server is imported for them."""

from ..garbage import look_rarely


def main() -> int:
    """The `intentcast` command."""
    look_rarely()
    from .app import main as run

    return run()
