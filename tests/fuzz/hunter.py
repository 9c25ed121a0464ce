"""The process that atheris looks for crashes in: python -m tests.fuzz.hunter READER SECONDS

Anything raised but Refused ends it with a trace, and so does an input that is read for longer than HANGS_AFTER; both
leave the input in crashes/, where the tests find it.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["protocol"]):
    from protocol.errors import Refused
    from tests.fuzz.readers import CRASHES, READERS, seeds

from tests.fuzz.guided import HUNG

LONGEST = 9000
"""Bytes of an input: what fits into gossip, and a little more."""

HANGS_AFTER = 10
"""Seconds for one input, on a machine that others use too: the slowest that is known takes some milliseconds."""


def main() -> None:
    reader, seconds = sys.argv[1:]
    read = READERS[reader]
    CRASHES.mkdir(exist_ok=True)

    def one(data: bytes) -> None:
        try:
            read(data)
        except Refused:
            pass

    with TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(reader)):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-artifact_prefix={CRASHES}/{reader}-"]
        options += [f"-timeout={HANGS_AFTER}", f"-timeout_exitcode={HUNG}"]
        atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
