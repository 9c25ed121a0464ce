"""Who may have how many messages judged. Bob, Carol and Dave are honest links; Mallory brings more than she should."""

import random

from protocol.gossip import Deliver, Judgement, Params, PeerUp, Verdict
from protocol.gossip.share import FairShare, Share

from .alice import HELLO, Alice, message
from .world import TOPIC


def feed(fair: FairShare, wants: dict[Share, float], start: float, seconds: float) -> dict[Share, int]:
    """Each link brings messages evenly, at its rate; how many of them were admitted."""
    moments = [
        (start + number / rate, order)
        for order, rate in enumerate(wants.values())
        if rate
        for number in range(int(rate * seconds))
    ]
    links = list(wants)
    admitted = dict.fromkeys(links, 0)
    for moment, order in sorted(moments):
        admitted[links[order]] += fair.admit(links[order], moment)
    return admitted


def test_below_the_total_nobody_is_limited_whoever_brings_it() -> None:
    fair = FairShare(100.0, 2.0)
    bob, carol, dave = (fair.join(1.0) for _ in range(3))
    assert feed(fair, {bob: 90.0, carol: 5.0, dave: 0.0}, 0.0, 60.0) == {bob: 5400, carol: 300, dave: 0}


def test_above_it_each_link_gets_its_weight_and_the_modest_all_they_want() -> None:
    fair = FairShare(100.0, 2.0)
    bob, carol, mallory, greedy = fair.join(1.0), fair.join(1.0), fair.join(1.0), fair.join(2.0)
    wants = {bob: 10.0, carol: 15.0, mallory: 1000.0, greedy: 1000.0}
    feed(fair, wants, 0.0, 10.0)
    got = feed(fair, wants, 10.0, 60.0)
    assert (got[bob], got[carol]) == (600, 900)
    assert sum(got.values()) <= 60 * 100 + 2 * 200, "the rate, and what can be saved"
    assert sum(got.values()) >= 60 * 99, "and nothing is wasted"
    assert 1.8 < got[greedy] / got[mallory] < 2.2, "the rest is shared by weight"


def test_a_new_link_has_saved_nothing_so_coming_again_does_not_pay() -> None:
    fair = FairShare(100.0, 2.0)
    mallory = fair.join(1.0)
    fair.join(1.0)
    admitted = sum(fair.admit(mallory, 0.0) for _ in range(10_000))
    for number in range(50):
        fair.leave(mallory)
        mallory = fair.join(1.0)
        admitted += sum(fair.admit(mallory, 0.001 * number) for _ in range(100))
    assert admitted <= 400 + 10


def test_it_is_the_same_every_time_and_a_long_silence_is_worth_the_burst_and_no_more() -> None:
    def play() -> list[bool]:
        fair = FairShare(50.0, 2.0)
        links = [fair.join(1.0) for _ in range(5)]
        rng = random.Random(4)
        now, out = 0.0, []
        for _ in range(3000):
            now += rng.random() / 200
            out.append(fair.admit(links[int(rng.random() ** 3 * 5)], now))
        return out

    assert play() == play()
    fair = FairShare(50.0, 2.0)
    bob = fair.join(1.0)
    assert sum(fair.admit(bob, 0.0) for _ in range(1000)) <= 200
    assert sum(fair.admit(bob, 100_000.0) for _ in range(1000)) <= 200


def test_ten_thousand_valid_frames_from_one_link_cost_the_others_nothing() -> None:
    """Every one of Mallory's frames is valid, fresh and paid for. Bob and Carol speak at their usual pace meanwhile,
    and all they say is judged and delivered at once. What Mallory has above her share is ignored: counted, blamed on
    nobody, and remembered nowhere, so that it is judged when Carol brings it."""
    judged = 0

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        nonlocal judged
        judged += 1
        return Judgement(Verdict.ACCEPT)

    alice = Alice(judge, Params(max_judged_per_second=100.0))
    alice.meet("bob", "carol", "mallory")
    heard = 0
    for number in range(10_000):
        alice.now = 1.0 + number / 1000
        alice.hear("mallory", message(b"spam %d" % number))
        if number % 100 == 0:
            for friend in ("bob", "carol"):
                effects = alice.hear(friend, message(f"{friend} {number}".encode()))
                heard += isinstance(effects[0], Deliver)
    assert heard == 200, "nothing of the honest was lost"
    assert judged <= 100 * 10 + 2 * 2 * 100, "ten seconds of work, and what was saved up"
    ledger = alice.router.ledger("mallory")
    assert ledger is not None
    assert ledger.over_share == alice.count("message.ignored.over_share") == 10_000 - (judged - 200)
    assert ledger.rejected == 0
    score = alice.router.score("mallory", alice.now)
    assert score is not None
    assert score.total >= 0, "to bring much is no offence"
    assert isinstance(alice.hear("carol", message(b"spam 9999"))[0], Deliver)


def test_whom_we_dialled_has_more_than_who_dialled_us() -> None:
    alice = Alice(params=Params(max_judged_per_second=100.0))
    alice.meet("mallory", "greedy")
    alice.router.handle(PeerUp("greedy", True), 0.0)  # it turns out that we dialled it, too
    got = {"mallory": 0, "greedy": 0}
    for number in range(20_000):
        alice.now = 1.0 + number / 1000
        for name in got:
            effects = alice.hear(name, message(b"%s %d" % (name.encode(), number)))
            got[name] += any(isinstance(effect, Deliver) for effect in effects)
    assert 1.6 < got["greedy"] / got["mallory"] < 2.2


def test_copies_cost_no_share() -> None:
    alice = Alice(params=Params(max_judged_per_second=10.0, judged_burst=1.0))
    alice.meet("bob", "carol", hello=HELLO)
    alice.hear("bob", message(b"wish"))
    for _ in range(100):
        alice.hear("carol", message(b"wish"))
    assert alice.count("message.duplicate") == 100
    assert alice.count("message.ignored.over_share") == 0
    assert alice.router.mesh(TOPIC)
