"""What goes wrong for people: what, where, and how to mend it, with the exit code that scripts rely on."""

import errno
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_RUNNING = 4
    REFUSED = 5
    NOTHING_CAME = 6
    LOCKED = 7
    INTERRUPTED = 130


class Trouble(Exception):
    """Told to a person as it stands. `code` is a stable word for scripts, `hint` how to mend it (may be empty)."""

    def __init__(self, code: str, message: str, hint: str = "", exit_code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def as_dict(self) -> dict[str, object]:
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


def not_found(what: str, hint: str = "") -> Trouble:
    return Trouble("not_found", what, hint, Exit.NOT_FOUND)


def refused(code: str, message: str, hint: str = "") -> Trouble:
    return Trouble(code, message, hint, Exit.REFUSED)


def usage(code: str, message: str, hint: str = "") -> Trouble:
    return Trouble(code, message, hint, Exit.USAGE)


def is_no_room(error: OSError) -> bool:
    """Is it that the disk, or this user's share of it, is full?"""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
