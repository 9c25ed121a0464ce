"""The vectors, put to any program as questions: one JSON object a line out, one a line back. README.md has them all."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vectors import build
from tests.vectors.codec_vectors import bytes_of
from tests.vectors.item_vectors import item_bytes

from .rows import Outcome, Report, Row

ROOT = Path(__file__).parents[2]
OURS = (sys.executable, "-m", "tests.conformance.reader")
"""Our own reader, as an example of one."""
JAVASCRIPT = ("node", str(ROOT / "tests" / "interop" / "reader.mjs"))

READER_SECONDS = 120
REFUSED = {"refused": True}
SHOWN = 3
"""Cases of a row that are told when they are answered otherwise."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    question: Json
    answer: Json


@dataclass(frozen=True, slots=True)
class Chapter:
    """Cases that one row of the report is about."""

    name: str
    section: str
    cases: tuple[Case, ...]


def chapters() -> list[Chapter]:
    """Every case of every file of tests/vectors."""
    load = build.load
    codec, frames, judged, ids = load("codec.json"), load("frames.json"), load("refused_frames.json"), load("ids.json")
    items, talks, evidence, sync = load("items.json"), load("exchange.json"), load("evidence.json"), load("sync.json")
    hear = [*judged["refused"], *judged["accepted"]]
    return [
        _chapter("a value has these bytes and no others", "Encoding", codec["good"], _value),
        _chapter("bytes that are no value are refused", "Encoding", codec["refused"], _no_value),
        _chapter("fields become these frames and ids", "Frames", frames["frames"], _frame),
        _chapter("frames get the protocol's verdict", "Verdicts", hear, _verdict),
        _chapter("gossip messages have these ids", "Gossip", ids["gossip_message_ids"], _plain("message_id", "id")),
        _chapter("stamps are counted", "Stamps", ids["stamps"], _stamp),
        _chapter("keys have these names", "Keys", ids["keys"], _plain("names", "key", "did", "peer_id")),
        _chapter("secrets have these boxes", "Keys", ids["boxes"], _plain("box", "key")),
        _chapter("values travel with their length", "Streams", ids["stream_values"], _plain("on_stream", "on_stream")),
        _chapter("items are sealed so", "Sealing", items["good"], _seal),
        _chapter("items are opened", "Opening", items["good"], _open),
        _chapter("items are refused", "Opening", items["refused"], _refuse_item),
        _chapter("frames are padded to these sizes", "Sealing", items["padding"], _pad),
        _chapter("items have these stamps", "Sealing", ids["item_stamps"], _plain("item_bits", "bits")),
        _chapter("hints are read", "Direct messages", items["hints"], _hint),
        _chapter("threads take these states", "Threads", talks["scenarios"], lambda case: _thread(case, talks)),
        _chapter("evidence is believed", "Evidence", evidence["good"], _plain("evidence", "ids")),
        _chapter("bad evidence is refused", "Evidence", evidence["refused"], _bad_evidence),
        _chapter("ranges have these fingerprints and marks", "Catch-up", sync["fingerprints"], _fingerprints),
        _chapter("questions of catch-up are answered so", "Catch-up", sync["answers"], _answers),
        _chapter("other questions of catch-up are refused", "Catch-up", sync["refused_questions"], _bad_question),
        _chapter("what is missing is found", "Catch-up", sync["talks"], _missing),
    ]


Maker = Callable[[Any], Iterable[tuple[Json, Json]]]


def _chapter(name: str, section: str, vectors: Sequence[Any], make: Maker) -> Chapter:
    cases = []
    for number, vector in enumerate(vectors):
        called = vector.get("name", f"number {number}") if isinstance(vector, dict) else f"number {number}"
        cases += [Case(called, question, answer) for question, answer in make(vector)]
    return Chapter(name, section, tuple(cases))


def _part(vector: Json, *names: str) -> Json:
    return {name: vector[name] for name in names}


def _plain(ask: str, *answers: str) -> Maker:
    """A vector whose words are the question's, but for those that are the answer's."""

    def make(vector: Json) -> Iterator[tuple[Json, Json]]:
        given = {name: value for name, value in vector.items() if name not in (*answers, "name")}
        yield {"ask": ask, **given}, _part(vector, *answers)

    return make


def _value(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "encode", "value": vector["value"]}, {"hex": vector["hex"]}
    yield {"ask": "decode", "hex": vector["hex"]}, {"value": vector["value"]}


def _no_value(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "decode", "hex": bytes_of(vector["hex"]).hex()}, REFUSED


def _frame(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "frame", **_part(vector, "seed", "realm", "net", "fields")}, _part(vector, "frame", "id")


def _verdict(vector: Json) -> Iterator[tuple[Json, Json]]:
    frame = bytes_of(vector["frame"]).hex()
    yield {"ask": "hear", "frame": frame, **vector["where"]}, _part(vector, "verdict")


def _stamp(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "frame_id", **_part(vector, "key", "payload")}, _part(vector, "id", "bits")


def _seal(vector: Json) -> Iterator[tuple[Json, Json]]:
    given = _part(vector, "frame", "sender_secret", "sender_is_box", "to_box", "n", "exp", "nonce")
    yield {"ask": "seal", **given}, _part(vector, "item", "digest")


def _open(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "open", "item": vector["item"], **vector["receiver"]}, _part(vector, "id")


def _refuse_item(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "open", "item": item_bytes(vector["item"]).hex(), **vector["receiver"]}, REFUSED


def _pad(vector: list[int]) -> Iterator[tuple[Json, Json]]:
    length, size = vector
    yield {"ask": "pad", "length": length}, {"size": size}


def _hint(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "hint", "hint": vector["hint"]}, _part(vector, "digest", "code", "arg")


def _thread(scenario: Json, file: Json) -> Iterator[tuple[Json, Json]]:
    given = [
        {"now": step["now"], "frame": file["frames"][step["id"]] if step["id"] else None} for step in scenario["steps"]
    ]
    known = _part(file, "root", "requester", "vendor")
    found = [_part(step, "early", "dropped", "owes", "states") for step in scenario["steps"]]
    yield {"ask": "thread", "side": scenario["side"], **known, "steps": given}, {"steps": found}


def _bad_evidence(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "evidence", "evidence": vector["evidence"]}, REFUSED


def _fingerprints(vector: Json) -> Iterator[tuple[Json, Json]]:
    for row in vector["ranges"]:
        question = {"ask": "fingerprint", **_part(vector, "ids", "salt"), "digits": row["digits"]}
        yield question, _part(row, "fingerprint", "mark")


def _answers(vector: Json) -> Iterator[tuple[Json, Json]]:
    for turn in vector["turns"]:
        question = {"ask": "catch_up", "division": "mobility", "held": vector["held"], "question": turn["question"]}
        yield question, {"answer": turn["answer"]}


def _bad_question(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "catch_up", "division": "mobility", "held": [], "question": vector["question"]}, REFUSED


def _missing(vector: Json) -> Iterator[tuple[Json, Json]]:
    yield {"ask": "missing", **_part(vector, "division", "salt", "held", "held_by_other")}, _part(vector, "missing")


# ---------------------------------------------------------------------------------------------------------- asking


def ask(part: str, command: Sequence[str], report: Report) -> None:
    """Put all cases to a reader, a row for each chapter. One that cannot be run, or hangs, is a failed row."""
    book = chapters()
    lines = "".join(json.dumps(case.question) + "\n" for chapter in book for case in chapter.cases)
    try:
        done = subprocess.run(
            command, cwd=ROOT, input=lines, capture_output=True, encoding="utf-8", timeout=READER_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as wrong:
        report.add(Row(part, "the reader runs", "Examples", Outcome.FAILED, str(wrong)))
        return
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        report.add(Row(part, "the reader runs", "Examples", Outcome.FAILED, f"exit code {done.returncode}: {last}"))
    answers = iter(done.stdout.removesuffix("\n").split("\n"))  # JSON may hold what else ends a line, U+2028 say
    for chapter in book:
        report.add(_judge(part, chapter, [next(answers, "") for _ in chapter.cases]))
    if extra := sum(1 for _ in answers):
        why = f"{extra} lines more than questions: is something else printed to stdout?"
        report.add(Row(part, "one line for each question", "Examples", Outcome.FAILED, why))


def _judge(part: str, chapter: Chapter, answers: list[str]) -> Row:
    wrong: list[str] = []
    skipped: list[str] = []
    for case, line in zip(chapter.cases, answers, strict=True):
        found = _read(line)
        if isinstance(found, dict) and set(found) == {"skip"}:
            skipped.append(str(found["skip"]))
        elif _exact(found) != _exact(case.answer):
            wrong.append(f"{case.name}: {_short(found)}, not {_short(case.answer)}")
    name = f"{chapter.name} ({len(chapter.cases)})"
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Row(part, name, chapter.section, Outcome.FAILED, "; ".join(wrong[:SHOWN]) + more)
    if skipped:
        why = f"{len(skipped)} of {len(chapter.cases)}: {skipped[0]}"
        return Row(part, name, chapter.section, Outcome.SKIPPED, why)
    return Row(part, name, chapter.section, Outcome.PASSED)


def _read(line: str) -> Any:
    if not line:
        return "no answer"
    try:
        return json.loads(line)
    except ValueError:
        return f"no JSON ({line[:40]!r})"


def _exact(value: Any) -> str:
    """Comparable, and true is not 1."""
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text)} characters)"
