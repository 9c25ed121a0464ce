"""Where in a TOML file a value stands: the parser of the standard library does not say, and an error without a line
sends a person searching.

Works on text that has already been parsed without an error, so it only has to find its way, not to judge.
"""

import re
import tomllib
from bisect import bisect_right
from typing import Final

Path = tuple[str | int, ...]
"""Keys, and places in lists from 0: ("items", "duster", "fees", 0, "amount")."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY: Final = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*""")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'", re.DOTALL
)
_BARE: Final = re.compile(r"[^,\]}\n#]*")


def key_lines(source: str) -> dict[Path, int]:
    """The line (from 1) of every table header, key and list element. `source` must be valid TOML."""
    return _Finder(source).lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the closest thing around it that stands in the file."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Finder:
    def __init__(self, source: str) -> None:
        self.lines: dict[Path, int] = {}
        self._source = source
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", source))]
        self._counts: dict[Path, int] = {}
        """Elements so far of each list of tables (`[[...]]`)."""
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(source):
            if source[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        start, many = self._at, self._source.startswith("[[", self._at)
        self._at += 2 if many else 1
        keys = self._keys()
        self._at += 2 if many else 1
        path: Path = ()
        for depth, key in enumerate(keys, 1):
            path = (*path, key)
            if many and depth == len(keys):
                self._counts[path] = self._counts.get(path, -1) + 1
            self._note(path, start)
            if path in self._counts:
                path = (*path, self._counts[path])
                self._note(path, start)
        return path

    def _pair(self, table: Path) -> None:
        start, path = self._at, table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        opened = self._source[self._at]
        if opened == "[":
            self._at += 1
            index = 0
            while self._past_comma("]"):
                self._note((*path, index), self._at)
                self._value((*path, index))
                index += 1
        elif opened == "{":
            self._at += 1
            while self._past_comma("}"):
                self._pair(path)
        elif opened in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_BARE)

    def _past_comma(self, closing: str) -> bool:
        """Move to the next element; False (and past the bracket) if there is none."""
        self._skip(_BLANK)
        if self._source[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)
        if self._source[self._at] == closing:
            self._at += 1
            return False
        return True

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            raw = self._skip(_KEY).strip(" \t")
            keys.append(next(iter(tomllib.loads(f"{raw}=0"))))
            if self._source[self._at] != ".":
                return keys
            self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._source, self._at)
        assert found is not None, "only valid TOML is searched"
        self._at = found.end()
        return found[0]

    def _note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect_right(self._starts, at))
