"""The vectors other implementations read are what this code does; the tables of the book are what this code has."""

from typing import Any

import pytest

from protocol.board import Board
from protocol.codec import decode, encode
from protocol.envelope import (
    Hint,
    Item,
    Realm,
    id_of,
    item_stamp_bits,
    open_frame,
    read_item,
    seal,
    sign,
    unseal,
    zero_bits,
)
from protocol.errors import Refused
from protocol.evidence import verify as verify_evidence
from protocol.exchange import Side, Thread
from protocol.framing import Deframer
from protocol.gossip import message_id
from protocol.keys import BoxKey, SigningKey, did, key_of_did, key_of_peer_id, peer_id
from protocol.kinds import KINDS
from protocol.letter import open_letter
from protocol.limits import MAX_ITEM, PAD_SIZES
from protocol.message import believe
from protocol.reconcile import IdTree, read_question
from tests.protocol.people import derived
from tests.vectors import book, build, sync_vectors
from tests.vectors.codec_vectors import bytes_of
from tests.vectors.exchange_vectors import play, scenarios
from tests.vectors.item_vectors import item_bytes
from tests.vectors.tagged import from_json

CODEC = build.load("codec.json")
FRAMES = build.load("frames.json")
REFUSED_FRAMES = build.load("refused_frames.json")
ITEMS = build.load("items.json")
EXCHANGE = build.load("exchange.json")
IDS = build.load("ids.json")
SYNC = build.load("sync.json")
EVIDENCE = build.load("evidence.json")


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


@pytest.mark.parametrize("name", build.FILES)
def test_a_file_is_what_the_code_would_write_today(name: str) -> None:
    """If this fails, bytes changed: run scripts/vectors, and say why in the commit."""
    assert (build.HERE / name).read_text("ascii") == build.text_of(name)


def test_the_book_has_the_tables_of_the_code() -> None:
    text = book.BOOK.read_text("utf-8")
    assert set(book.made_parts(text)) == set(book.PARTS)
    assert text == book.rewritten(text), "run scripts/vectors"


@named(CODEC["good"])
def test_a_value_has_these_bytes_and_no_others(vector: dict[str, Any]) -> None:
    value = from_json(vector["value"])
    assert encode(value).hex() == vector["hex"]
    assert decode(bytes.fromhex(vector["hex"])) == value


@named(CODEC["refused"])
def test_bytes_without_a_value_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        decode(bytes_of(vector["hex"]))
    assert refused.value.reason.value == vector["reason"]


def test_every_kind_has_a_frame() -> None:
    assert {vector["name"] for vector in FRAMES["frames"]} >= set(KINDS)


@named(FRAMES["frames"])
def test_a_frame_follows_from_its_fields(vector: dict[str, Any]) -> None:
    key, realm = SigningKey(bytes.fromhex(vector["seed"])), Realm(vector["realm"])
    payload = encode(from_json(vector["fields"]))
    assert payload.hex() == vector["payload"]
    assert key.public.hex() == vector["key"]
    assert sign(payload, key, realm, vector["net"]).hex() == vector["frame"]
    assert id_of(key.public, payload).hex() == vector["id"]
    message = believe(open_frame(bytes.fromhex(vector["frame"]), realm, vector["net"]))
    assert message.id.hex() == vector["id"]


def hear(vector: dict[str, Any]) -> Any:
    where = vector["where"]
    board = Board(where["net"], bits=where["bits"])
    for frame in where["heard"]:
        earlier = where["now"] if where["now"] > board_time(frame) else board_time(frame)
        assert board.hear(bytes.fromhex(frame), where["division"], "before", earlier).accepted
    before = [posting.message.id for posting in board]
    heard = board.hear(bytes.fromhex(vector["frame"]), where["division"], "peer", where["now"])
    return heard, before, [posting.message.id for posting in board]


def board_time(frame: str) -> int:
    fields = open_frame(bytes.fromhex(frame), Realm.GOSSIP, "test").fields
    assert isinstance(fields["at"], int)
    return fields["at"]


@named(REFUSED_FRAMES["refused"])
def test_a_bad_frame_gets_its_verdict_and_leaves_no_trace(vector: dict[str, Any]) -> None:
    heard, before, after = hear(vector)
    assert heard.reason.value == vector["reason"]
    assert heard.rejected == (vector["verdict"] == "reject")
    assert before == after


@named(REFUSED_FRAMES["accepted"])
def test_its_neighbour_just_passes(vector: dict[str, Any]) -> None:
    assert hear(vector)[0].accepted


def test_there_are_enough_lies() -> None:
    assert len(REFUSED_FRAMES["refused"]) >= 60
    assert {vector["verdict"] for vector in REFUSED_FRAMES["refused"]} == {"reject", "ignore"}


@named(ITEMS["good"])
def test_an_item_follows_from_keys_and_nonce_and_opens(vector: dict[str, Any]) -> None:
    sender, receiver = BoxKey(bytes.fromhex(vector["sender_secret"])), vector["receiver"]
    item = seal(
        bytes.fromhex(vector["frame"]),
        sender,
        bytes.fromhex(vector["to_box"]),
        own_is_box=vector["sender_is_box"],
        n=vector["n"],
        exp=vector["exp"],
        nonce=bytes.fromhex(vector["nonce"]),
    )
    assert item.encoded().hex() == vector["item"]
    assert item.digest.hex() == vector["digest"]
    assert open_item(vector["item"], receiver).id.hex() == vector["id"]


def open_item(data: str | dict[str, Any], receiver: dict[str, Any]) -> Any:
    item = read_item(item_bytes(data))
    assert isinstance(item, Item)
    author = receiver["expected_author"]
    return open_letter(
        item,
        BoxKey(bytes.fromhex(receiver["own"])),
        own_is_box=receiver["own_is_box"],
        net=receiver["net"],
        me=bytes.fromhex(receiver["me"]),
        root=bytes.fromhex(receiver["root"]),
        expected_author=bytes.fromhex(author) if author else None,
    )


@named(ITEMS["refused"])
def test_a_bad_item_is_refused_at_its_step(vector: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        open_item(vector["item"], vector["receiver"])
    assert refused.value.reason.value == vector["reason"]


@named(ITEMS["hints"])
def test_a_hint_reads_as_it_is_written(vector: dict[str, Any]) -> None:
    hint = read_item(bytes.fromhex(vector["hint"]))
    assert isinstance(hint, Hint)
    assert (hint.digest.hex(), hint.code.value, hint.arg) == (vector["digest"], vector["code"], vector["arg"])


@pytest.mark.parametrize(("length", "padded"), ITEMS["padding"])
def test_a_frame_is_padded_to_the_smallest_size_that_holds_it(length: int, padded: int) -> None:
    bob, alice = BoxKey(derived("bob pads")), BoxKey(derived("alice pads"))
    frame = b"\x80" * length  # the hardest content: it looks like padding
    item = seal(frame, bob, alice.public, own_is_box=False, n=2**63 - 1, exp=2**40, nonce=derived("pad", 24))
    assert len(item.ciphertext) == padded + 16
    assert len(item.encoded()) <= MAX_ITEM
    again = read_item(item.encoded())
    assert isinstance(again, Item)
    assert unseal(again, alice, own_is_box=True) == frame


def test_a_frame_too_long_for_any_size_is_not_sealed() -> None:
    bob = BoxKey(derived("bob pads"))
    with pytest.raises(Refused, match="do not fit"):
        seal(bytes(PAD_SIZES[-1]), bob, bob.public, own_is_box=False, n=0, exp=1, nonce=bytes(24))


@named(EXCHANGE["scenarios"])
def test_a_thread_takes_these_states(vector: dict[str, Any]) -> None:
    thread = Thread(
        bytes.fromhex(EXCHANGE["root"]),
        bytes.fromhex(EXCHANGE["requester"]),
        bytes.fromhex(EXCHANGE["vendor"]),
        Side(vector["side"]),
    )
    for step in vector["steps"]:
        if step["id"] is None:
            thread.tick(step["now"])
        else:
            frame = bytes.fromhex(EXCHANGE["frames"][step["id"]])
            message = believe(open_frame(frame, KINDS[step["kind"]].realm, "test"))
            outcome = thread.add(message, step["now"])
            assert (outcome.early, outcome.dropped, outcome.owes) == (step["early"], step["dropped"], step["owes"])
        assert {offer.hex(): talk.state.value for offer, talk in thread.talks.items()} == step["states"]


@pytest.mark.parametrize("name", scenarios())
def test_the_states_are_those_worked_out_by_hand(name: str) -> None:
    scenario = scenarios()[name]
    _, outcome, states = play(scenario)[-1]
    assert states == {offer.hex(): state for offer, state in scenario.ends.items()}
    assert outcome.owes == scenario.owes


@named(EVIDENCE["good"])
def test_evidence_holds(vector: dict[str, Any]) -> None:
    found = verify_evidence(bytes.fromhex(vector["evidence"]))
    assert [message.id.hex() for message in found.messages] == vector["ids"]


@named(EVIDENCE["refused"])
def test_bad_evidence_is_not_believed(vector: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        verify_evidence(bytes.fromhex(vector["evidence"]))
    assert refused.value.reason.value == vector["reason"]


def test_names_follow_from_bytes() -> None:
    for row in IDS["gossip_message_ids"]:
        assert message_id(row["topic"], bytes.fromhex(row["data"])).hex() == row["id"]
    for row in IDS["stamps"]:
        assert id_of(bytes.fromhex(row["key"]), bytes.fromhex(row["payload"])).hex() == row["id"]
        assert zero_bits(bytes.fromhex(row["id"])) == row["bits"]
    assert [row["bits"] >= wanted for row, wanted in zip(IDS["stamps"], (0, 8, 12, 18), strict=True)] == [True] * 4
    for row in IDS["keys"]:
        key = SigningKey(bytes.fromhex(row["seed"])).public
        assert (key.hex(), did(key), peer_id(key)) == (row["key"], row["did"], row["peer_id"])
        assert key_of_did(row["did"]) == key_of_peer_id(row["peer_id"]) == key
    for row in IDS["boxes"]:
        assert BoxKey(bytes.fromhex(row["secret"])).public.hex() == row["key"]
    for row in IDS["stream_values"]:
        assert Deframer(MAX_ITEM).feed(bytes.fromhex(row["on_stream"])) == [bytes.fromhex(row["value"])]
        assert encode(decode(bytes.fromhex(row["value"]))).hex() == row["value"]


def test_an_item_stamp_shows_its_bits() -> None:
    item = read_item(item_bytes(ITEMS["good"][0]["item"]))
    assert isinstance(item, Item)
    for row in IDS["item_stamps"]:
        assert item.digest.hex() == row["digest"]
        stamped = Item(
            item.to_box, item.tkey, item.n, item.exp, item.nonce, item.ciphertext, bytes.fromhex(row["stamp"])
        )
        assert item_stamp_bits(stamped) == row["bits"]
        assert stamped.digest == item.digest, "a stamp is no part of what it stamps"


@named(SYNC["answers"])
def test_questions_of_catch_up_are_answered_so(vector: dict[str, Any]) -> None:
    tree = IdTree(bytes.fromhex(one) for one in vector["held"])
    for turn in vector["turns"]:
        asked = decode(bytes.fromhex(turn["question"]))
        assert isinstance(asked, list)
        question = read_question(asked)
        assert question is not None
        answer = sync_vectors.answer(question, tree)
        assert encode(answer).hex() == turn["answer"]
        question.read(answer)


@named(SYNC["talks"])
def test_a_talk_of_catch_up_finds_what_is_missing(vector: dict[str, Any]) -> None:
    hers, his = ([bytes.fromhex(one) for one in vector[key]] for key in ("held", "held_by_other"))
    found = [id.hex() for _, _, learned in sync_vectors.talk(hers, his) for id in learned]
    assert sorted(found) == vector["missing"]


@named(SYNC["refused_questions"])
def test_questions_that_no_asker_asks(vector: dict[str, Any]) -> None:
    asked = decode(bytes.fromhex(vector["question"]))
    assert isinstance(asked, list)
    try:
        assert read_question(asked) is None
    except Refused as refused:
        assert refused.reason.value == "request"  # noqa: PT017  None is another way to refuse
