"""Coverage-guided fuzzing of the three readers that meet bytes of strangers first. Needs atheris, the extra `fuzz`.

    python -m tests.adversary.coverage frame|rpc|item [seconds]

Anything raised but Refused ends it with a trace and the input in a file (`crash-...`, in the working directory).
"""

import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

READERS = ("frame", "rpc", "item")


def is_possible() -> bool:
    return importlib.util.find_spec("atheris") is not None


def fuzz(reader: str, seconds: int) -> tuple[bool, int]:
    """Whether it survived, in a process of its own, and how many inputs it was given."""
    with TemporaryDirectory() as directory:
        command = [sys.executable, "-m", __name__, reader, str(seconds)]
        root = Path(__file__).parents[2]
        done = subprocess.run(
            command, cwd=directory, env=_environment(root), capture_output=True, text=True, timeout=seconds + 120
        )
        runs = [line for line in done.stderr.splitlines() if line.startswith("stat::number_of_executed_units:")]
        count = int(runs[-1].split()[-1]) if runs else 0
        if done.returncode:
            print(done.stdout, done.stderr[-4000:], sep="\n")
        return done.returncode == 0, count


def _environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root)}


def _readers() -> dict[str, Callable[[bytes], object]]:
    from protocol.board import Board
    from protocol.envelope import read_item
    from protocol.gossip.rpc import decode_rpc
    from tests.protocol.people import NET, NOW

    return {
        "frame": lambda data: Board(NET).hear(data, "mobility", "mallory", NOW),
        "rpc": decode_rpc,
        "item": read_item,
    }


def _seeds(reader: str) -> list[bytes]:
    """Good ones to begin with: from nothing it would take long to find the first door."""
    from protocol.gossip.rpc import encode_publish
    from tests.protocol.people import ALICE, BOB, author_of, letter, one_of_each

    from .frames import TOPIC, broken_rpcs

    said = one_of_each()
    match reader:
        case "frame":
            return [message.frame for message in said.values()]
        case "rpc":
            return [encode_publish(TOPIC, said["intent"].frame), *broken_rpcs(random.Random(1))]
        case _:
            direct = [message for message in said.values() if message.head.tkey is not None]
            return [letter(one, author_of(one), BOB if author_of(one) is ALICE else ALICE).encoded() for one in direct]


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["protocol"]):
        from protocol.errors import Refused

        read = _readers()[sys.argv[1]]
    seconds = sys.argv[2] if len(sys.argv) > 2 else "60"

    def one(data: bytes) -> None:
        try:
            read(data)
        except Refused:
            pass

    with TemporaryDirectory() as corpus:
        for number, seed in enumerate(_seeds(sys.argv[1])):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-max_len=9000", "-print_final_stats=1", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
