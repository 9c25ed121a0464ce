"""Both programs are asked the same: threads in random order, frames and letters damaged before and after signing.

The vectors say what both must answer; here is what neither author thought of. `questions.mjs` says the other's answers.
"""

import json
import subprocess
from typing import Any

import pytest

from protocol.board import Board
from protocol.envelope import Item, Realm, open_frame, read_item
from protocol.errors import Refused
from protocol.exchange import Side, Thread
from protocol.keys import BoxKey
from protocol.letter import open_letter
from protocol.message import believe
from tests.interop.js import require_modules
from tests.interop.modules import HERE

MANY = 400


@pytest.fixture(scope="module", params=[1, 2])
def asked(request: pytest.FixtureRequest) -> Any:
    require_modules()
    command = ["node", "questions.mjs", str(request.param), str(MANY)]
    return json.loads(subprocess.run(command, cwd=HERE, capture_output=True, check=True, timeout=60).stdout)


def test_threads_in_random_order_end_alike(asked: Any) -> None:
    net, root, *keys = asked["net"], *(bytes.fromhex(asked[name]) for name in ("root", "requester", "vendor"))
    said = {
        message_id: believe(open_frame(bytes.fromhex(one["frame"]), Realm(one["realm"]), net))
        for message_id, one in asked["said"].items()
    }
    ends: set[str] = set()
    for played in asked["threads"]:
        thread = Thread(root, keys[0], keys[1], Side(played["side"]))
        for step in played["steps"]:
            message, now = said[step["id"]], step["now"]
            thread.tick(now)
            outcome = thread.add(message, now)
            thread.tick(now)
            states = {offer.hex(): talk.state.value for offer, talk in thread.talks.items()}
            owes = "own" if thread.sender_of(message) == played["side"] else outcome.owes
            found = {"early": outcome.early, "dropped": outcome.dropped, "owes": owes, "states": states}
            assert found == {name: step[name] for name in found}, (played["side"], message.kind, played["steps"])
            ends |= {f"{state}" for state in states.values()} | {f"owes {owes}"}
    assert ends >= {"VOID", "LAPSED", "CONFIRMED", "REJECTED", "DECLINED", "WITHDRAWN", "OFFERED", "ACCEPTED"}
    assert ends >= {"owes state", "owes lapsed", "owes superseded"}


def test_damaged_frames_get_the_same_verdict(asked: Any) -> None:
    verdicts = []
    for question in asked["frames"]:
        heard = Board(asked["net"]).hear(bytes.fromhex(question["frame"]), "mobility", "peer", asked["now"])
        found = "accept" if heard.accepted else "reject" if heard.rejected else "ignore"
        assert found == question["verdict"], (question["frame"], heard.reason)
        verdicts.append(found)
    assert set(verdicts) == {"accept", "reject", "ignore"}


def opens(asked: Any, item: str) -> bool:
    me, vendor, root = (bytes.fromhex(asked[name]) for name in ("requester", "vendor", "root"))
    try:
        read = read_item(bytes.fromhex(item))
        if not isinstance(read, Item):
            return True
        own = BoxKey(bytes.fromhex(asked["box"]))
        open_letter(read, own, own_is_box=True, net=asked["net"], me=me, root=root, expected_author=vendor)
    except Refused:
        return False
    return True


def test_damaged_letters_open_or_do_not_alike(asked: Any) -> None:
    answers = [(question["opens"], opens(asked, question["item"]), question["item"]) for question in asked["items"]]
    assert [item for there, here, item in answers if there != here] == []
    assert {here for _, here, _ in answers} == {True, False}
