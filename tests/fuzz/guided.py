"""Coverage-guided fuzzing, by atheris, of what reads bytes of strangers (readers.py): each reader in a process of its
own (hunter.py), one after the other. Needs the extra `fuzz`."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .readers import READERS

ROOT = Path(__file__).parents[2]

LEAST = 1_000
"""Inputs a reader must have been tried with, or nothing was proven. The slowest reads some hundred a second."""

HUNG = 70
"""The exit code of a hunter that found an input which is read for ever."""


@dataclass(frozen=True)
class Hunt:
    """What came of one reader's share of the time."""

    reader: str
    code: int
    """The exit code of its process."""
    executions: int
    reached: int
    """Points of protocol/ that were reached, as atheris counts them."""
    trace: str

    @property
    def survived(self) -> bool:
        return self.code == 0 and self.executions >= LEAST

    def line(self) -> str:
        word = {0: "nothing raised", HUNG: "HANGS"}.get(self.code, "RAISED")
        if self.code == 0 and not self.survived:
            word = f"TOO FEW: at least {LEAST:,}"
        if not self.survived:
            word += f"\n{self.trace}"
        return f"{self.reader:8} {self.executions:10,} executions {self.reached:6,} points reached   {word}"


def is_possible() -> bool:
    return importlib.util.find_spec("atheris") is not None


def hunt(seconds: int) -> Iterator[Hunt]:
    """So many seconds in all, the same share for each reader."""
    for reader in READERS:
        yield _hunt_one(reader, max(1, seconds // len(READERS)))


def _hunt_one(reader: str, seconds: int) -> Hunt:
    command = [sys.executable, "-m", "tests.fuzz.hunter", reader, str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 300)
    return Hunt(
        reader,
        done.returncode,
        _last(r"number_of_executed_units:\s*(\d+)", done.stderr),
        _last(r"\bcov: (\d+)", done.stderr),
        done.stderr[-1500:] + done.stdout[-4000:],
    )


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0
