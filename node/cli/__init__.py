"""The command line. Client commands and --help stay light: neither libp2p nor the server is imported for them."""


def main() -> int:
    """The `intentcast` command."""
    from .app import main as run

    return run()
