"""Times as people type them: durations, instants, and spans of local time."""

import os
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from node.trouble import usage

_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PART: Final = re.compile(r"(\d{1,9})\s*(min|[smhdw])")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT: Final = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::00)?")


def parse_duration(text: str, where: str) -> int:
    """`10s`, `30m`, `2h`, `7d`, `1d12h`, or seconds -> seconds. Raises Trouble."""
    plain = text.strip().lower()
    if plain.isascii() and plain.isdigit() and len(plain) <= 9:
        return int(plain)
    parts = _PART.findall(plain)
    if not parts or _PART.sub("", plain).strip():
        raise usage("bad_duration", f"{where}: {text!r} is no duration", "Write 10s, 30m, 2h, 7d or 1d12h.")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def show_duration(seconds: float) -> str:
    """90061 -> `1d 1h`: the two largest units."""
    left = int(seconds)
    shown: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _UNITS[unit])
        if count or (unit == "s" and not shown):
            shown.append(f"{count}{unit}")
    return " ".join(shown[:2])


def show_instant(at: Any) -> str:
    """Seconds UTC -> local date and time, to the minute; whatever else as it is."""
    if not isinstance(at, int) or isinstance(at, bool):
        return str(at)
    try:
        return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    except (OverflowError, ValueError, OSError):
        return str(at)


def parse_instant(text: str, tz: str, where: str) -> int:
    """A duration from now (`2h`), or a local moment (`2026-02-14T18:00`) -> seconds UTC. Raises Trouble."""
    if _DATE.match(text.strip()):
        return int(_local(text, where).replace(tzinfo=_zone(tz)).timestamp())
    try:
        return int(time.time()) + parse_duration(text, where)
    except Exception:
        hint = "Write a duration (2h, 1d) or a moment (2026-02-14T18:00)."
        raise usage("bad_time", f"{where}: {text!r} is no time", hint) from None


def parse_when(start: str | None, end: str | None, tz: str | None, flex: str | None) -> dict[str, Any] | None:
    """The span a wish is about, from --from, --to, --tz and --flex. Raises Trouble."""
    if start is None and end is None:
        if flex is not None:
            raise usage("bad_dates", "--flex needs --from and --to", "Say when, and then how much that may move.")
        return None
    if start is None or end is None:
        given, missing = ("--to", "--from") if start is None else ("--from", "--to")
        raise usage("bad_dates", f"{given} needs {missing}", "A wish begins at --from and is over at --to.")
    first, last = _local(start, "--from"), _local(end, "--to")
    if last <= first:
        hint = "Change one of them."
        if last == first and _DATE.fullmatch(end.strip()):
            hint = f"A date alone means its midnight; for the whole day: --to {(last + timedelta(1)).date()}"
        raise usage("bad_dates", f"--to {end} does not come after --from {start}", hint)
    zone = tz or system_zone()
    _zone(zone)
    when: dict[str, Any] = {"start": _iso(start), "end": _iso(end), "tz": zone}
    if flex is not None:
        when["flex"] = parse_duration(flex, "--flex")
    return when


def system_zone() -> str:
    """The name of the system's time zone; UTC if it does not tell."""
    named = os.environ.get("TZ", "").removeprefix(":")
    candidates = [named] if named else []
    try:
        candidates.append(str(Path("/etc/localtime").readlink()).partition("zoneinfo/")[2])
    except OSError:
        pass
    try:
        candidates.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        pass
    return next((name for name in candidates if name and _is_zone(name)), "UTC")


def _local(text: str, where: str) -> datetime:
    try:
        return datetime.fromisoformat(_iso(text))
    except ValueError:
        hint = "Write 2026-02-14, or 2026-02-14T10:00 with a local time."
        raise usage("bad_dates", f"{where}: {text!r} is no date of the calendar", hint) from None


def _iso(text: str) -> str:
    """As the protocol writes local time: YYYY-MM-DD or YYYY-MM-DDTHH:MM. Raises ValueError."""
    plain = text.strip()
    if _DATE.fullmatch(plain):
        return plain
    if (found := _MOMENT.fullmatch(plain)) is not None:
        return f"{found[1]}T{found[2]}"
    raise ValueError(text)


def _zone(name: str) -> ZoneInfo | timezone:
    if not _is_zone(name):
        raise usage("bad_zone", f"--tz: there is no time zone {name!r}", "Zones are named like Europe/Paris, or UTC.")
    return ZoneInfo(name)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return re.fullmatch(r"[A-Za-z0-9_+/-]{1,64}", name) is not None
