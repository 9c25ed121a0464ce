"""IHAVE and IWANT: who is told, who is asked, who is given what, and for how long."""

from protocol.gossip import (
    Forward,
    Judgement,
    Params,
    PeerDown,
    Publish,
    Verdict,
    Wake,
    message_id,
)
from protocol.gossip.rpc import (
    IHave,
    Message,
    Rpc,
    encode_control,
    encode_prune,
)

from .alice import GRAFT, Alice, crowd, ihave, iwant, message
from .world import OTHER, TOPIC


def test_those_outside_the_mesh_all_hear_of_a_message_within_the_gossip_window() -> None:
    alice = Alice()
    alice.meet(*crowd(50))
    alice.beat()  # those who came since the last heartbeat are told apart; from now on they take turns
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    mid = message_id(TOPIC, b"wish")
    outside = [peer for peer in crowd(50) if peer not in alice.router.mesh(TOPIC)]
    for peer in crowd(50):
        alice.said(peer)
    told: list[str] = []
    for _ in range(3):
        alice.beat()
        for peer in crowd(50):
            for rpc in alice.said(peer):
                assert rpc == Rpc(ihave=(IHave(TOPIC, (mid,)),))
                told.append(peer)
    assert sorted(told) == sorted(outside), "each of them, once"
    alice.beat()
    assert not any(alice.said(peer) for peer in crowd(50))


def test_a_newcomer_is_told_what_can_still_be_had_even_if_it_is_in_the_mesh() -> None:
    alice = Alice()
    alice.router.handle(Publish(TOPIC, b"wish"), 0.0)
    alice.beat()
    alice.beat()
    alice.meet("bob")
    assert alice.router.mesh(TOPIC) == ("bob",)
    alice.beat()
    assert alice.said("bob") == [Rpc(ihave=(IHave(TOPIC, (message_id(TOPIC, b"wish"),)),))]
    alice.hear("bob", iwant(message_id(TOPIC, b"wish")))
    assert alice.said("bob") == [Rpc(messages=(Message(TOPIC, b"wish", False),))]
    alice.beat()
    assert alice.said("bob") == []


def test_who_comes_into_the_mesh_is_told_of_what_was_not_sent_to_it() -> None:
    """Said a moment before the GRAFT: too early to be sent to Bob, and in the mesh nobody waits for a turn."""
    alice = Alice(params=Params(flood_publish=False))
    alice.meet(*crowd(6), "bob", outbound=True)
    alice.beat()
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    assert alice.said("bob") == []
    alice.hear("bob", GRAFT)
    assert "bob" in alice.router.mesh(TOPIC)
    alice.beat()
    assert alice.said("bob") == [Rpc(ihave=(IHave(TOPIC, (message_id(TOPIC, b"wish"),)),))]


def test_all_hear_of_a_message_in_time_though_the_mesh_changes_meanwhile() -> None:
    """Those who leave the mesh have waited longest, and come first; the last in line must not miss it for that."""
    alice = Alice(params=Params(d=12, d_low=1, d_out=0))
    alice.meet(*crowd(40))
    for peer in crowd(12):
        alice.hear(peer, GRAFT)
    for number in range(3):
        alice.router.handle(Forward(TOPIC, b"before %d" % number), alice.now)
        alice.beat()
    for peer in crowd(40):
        alice.said(peer)
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    mesh = alice.router.mesh(TOPIC)
    for number in range(3):
        alice.beat()
        if number == 0:
            for peer in mesh[1:]:
                alice.hear(peer, encode_control([encode_prune(TOPIC, 60)]))
    mid = message_id(TOPIC, b"wish")
    heard = {peer for peer in crowd(40) for rpc in alice.said(peer) for entry in rpc.ihave if mid in entry.ids}
    assert heard >= {*crowd(40)} - {*mesh}


def test_what_came_by_hearsay_goes_on_by_hearsay_at_once() -> None:
    """Where our mesh failed, that of others may have failed as well. To all outside the mesh that keep up with us, but
    to Bob, who told us, only so often in the time of a heartbeat, and together what came together."""
    alice = Alice()
    alice.meet(*crowd(10), "bob", "slow")
    alice.beat()
    outside = sorted({*crowd(10)} - {*alice.router.mesh(TOPIC)})
    assert len(outside) == 5
    alice.hear("slow", ihave(message_id(TOPIC, b"never")))  # our IWANT waits
    words = [b"wish %d" % number for number in range(10)]
    ids = [message_id(TOPIC, word) for word in words]

    def told_when_bob_brings(count: int) -> dict[str, list[Rpc]]:
        """The next of them, in one RPC."""
        some, words[:count] = words[:count], []
        alice.hear("bob", ihave(*[message_id(TOPIC, word) for word in some]))
        alice.said("bob")
        alice.hear("bob", b"".join([message(word) for word in some]))
        return {peer: rpcs for peer in outside if (rpcs := alice.said(peer))}

    assert told_when_bob_brings(2) == {peer: [Rpc(ihave=(IHave(TOPIC, tuple(ids[:2])),))] for peer in outside}
    for _ in range(3):
        assert len(told_when_bob_brings(1)) == 5
    assert told_when_bob_brings(1) == {}, "enough until the heartbeat"
    assert alice.count("ihave.prompt") == 4
    (rpc,) = alice.said("slow")
    assert (rpc.iwant, rpc.ihave) == ((message_id(TOPIC, b"never"),), ())
    alice.beat()
    assert sorted(alice.said(outside[0])[0].ihave[0].ids) == sorted(ids[:6])
    assert len(told_when_bob_brings(1)) == 5


def test_nobody_is_told_more_often_than_it_reads() -> None:
    """Others read ten RPCs with IHAVE between two heartbeats of theirs, which may be late. Bob brings new things by
    hearsay all the time, and most of them right before and after our heartbeats."""
    alice = Alice()
    alice.meet(*crowd(10), "bob")
    alice.beat()
    outside = next(peer for peer in crowd(10) if peer not in alice.router.mesh(TOPIC))
    told: list[float] = []

    def look() -> None:
        told.extend(alice.now for rpc in alice.said(outside) if rpc.ihave)

    for number, at in enumerate(base + at for base in range(1, 31, 3) for at in (0.9, 0.95, 1.0, 1.02, 2.0, 2.02)):
        alice.now = at
        if at == int(at):
            alice.beat(0)
            look()
        for word in (b"%d a" % number, b"%d b" % number):
            alice.hear("bob", ihave(message_id(TOPIC, word)))
            alice.hear("bob", message(word))
            look()
    assert len(told) > 60
    late = 1.2 * Params().heartbeat_interval
    most = max(sum(begin <= at < begin + late for at in told) for begin in told)
    assert most <= Params().max_ihave_rpcs


def test_what_the_mesh_brings_is_told_at_the_heartbeat() -> None:
    alice = Alice()
    alice.meet(*crowd(10))
    alice.beat()
    outside = [peer for peer in crowd(10) if peer not in alice.router.mesh(TOPIC)]
    alice.hear(alice.router.mesh(TOPIC)[0], message(b"wish"))
    alice.hear(outside[0], message(b"flooded"))
    assert not any(alice.said(peer) for peer in outside)
    assert alice.count("ihave.prompt") == 0


def test_what_we_do_not_have_is_asked_for_once_and_must_come_in_time() -> None:
    alice = Alice()
    alice.meet("bob", "carol")
    mid = message_id(TOPIC, b"wish")
    assert alice.hear("bob", ihave(mid, mid, b"not an id of ours")) == [Wake("bob")]
    assert alice.said("bob") == [Rpc(iwant=(mid,))]
    assert alice.hear("bob", ihave(mid)) == [], "asked already"
    assert alice.hear("carol", ihave(mid)) == [Wake("carol")], "Bob may be lying, so Carol is asked too"
    alice.said("carol")
    alice.hear("carol", message(b"wish"))
    for _ in range(3):
        alice.beat()
    assert alice.count("promise.broken") == 0, "we got it from somebody"

    other = message_id(TOPIC, b"other")
    alice.hear("bob", ihave(other))
    alice.said("bob")
    for _ in range(3):
        alice.beat()
    ledger = alice.router.ledger("bob")
    assert ledger is not None
    assert ledger.broken_promises == 1
    assert alice.hear("bob", ihave(other)) == [Wake("bob")], "and may be asked again"


def test_a_peer_we_cannot_write_to_is_not_blamed_for_not_answering() -> None:
    alice = Alice()
    alice.meet("bob")
    alice.hear("bob", ihave(message_id(TOPIC, b"wish")))
    for _ in range(3):
        alice.beat()
    ledger = alice.router.ledger("bob")
    assert ledger is not None
    assert ledger.broken_promises == 0
    assert alice.said("bob") == [], "it is too late to ask now"
    assert alice.count("dropped.iwant") == 1


def test_ihave_about_topics_we_are_not_in_is_not_acted_upon() -> None:
    alice = Alice()
    alice.meet("bob")
    assert alice.hear("bob", ihave(bytes(20), topic=OTHER)) == []


def test_ihave_is_capped_per_heartbeat_and_per_peer() -> None:
    alice = Alice(params=Params(max_asked=100))
    alice.meet("mallory", "bob")
    fresh = (number.to_bytes(20, "big") for number in range(10**6))
    for _ in range(20):
        alice.hear("mallory", ihave(*(next(fresh) for _ in range(30))))
    asked = [mid for rpc in alice.said("mallory") for mid in rpc.iwant]
    assert len(asked) == len(set(asked)) == 100
    assert alice.count("ihave.over_cap") == 10
    assert alice.count("iwant.over_cap") == 200
    alice.hear("bob", ihave(next(fresh)))
    assert len(alice.said("bob")) == 1, "Mallory's noise does not make Bob unheard"
    for _ in range(3):
        alice.beat()
    alice.hear("mallory", ihave(next(fresh)))
    assert len(alice.said("mallory")) == 1, "after the heartbeat, and what she owes being settled, she is heard again"


def test_what_a_peer_owes_and_is_not_due_is_forgotten_when_it_goes() -> None:
    """Bob's link broke. On the next he does not know what he was asked, and nobody blames him."""
    alice = Alice()
    alice.meet("bob")
    alice.hear("bob", ihave(message_id(TOPIC, b"wish")))
    alice.said("bob")
    alice.router.handle(PeerDown("bob"), 0.0)
    assert not alice.router._hearsay.asking
    for _ in range(4):
        alice.beat()
    assert alice.count("promise.broken") == 0


def test_one_ihave_speaks_of_a_bounded_number_of_messages_and_the_cache_holds_bounded_bytes() -> None:
    alice = Alice(params=Params(max_ihave_ids=10, cache_bytes=20_000, d=1, d_low=1, d_out=0))
    alice.meet("bob", "carol")
    alice.beat()
    for number in range(50):
        alice.router.handle(Forward(TOPIC, bytes([number]) * 1000), alice.now)
        statistics = alice.router.statistics()
        assert statistics.cached_bytes <= 20_000
    assert statistics.cached_messages == 19
    assert statistics.counters["cache.evicted"] == 31
    alice.beat()
    (rpc,) = alice.said("carol")
    newest = {message_id(TOPIC, bytes([number]) * 1000) for number in range(31, 50)}
    assert len(set(rpc.ihave[0].ids)) == 10
    assert set(rpc.ihave[0].ids) < newest
    assert alice.count("ihave.ids_left_out") == 9


def test_a_message_is_given_to_one_peer_three_times_and_no_more() -> None:
    alice = Alice()
    alice.meet("bob", "mallory")
    mid = message_id(TOPIC, b"wish")
    alice.router.handle(Publish(TOPIC, b"wish"), 0.0)
    alice.said("bob")
    alice.said("mallory")
    alice.hear("mallory", iwant(*[mid] * 1000, b"unknown"))
    assert alice.said("mallory") == [Rpc(messages=(Message(TOPIC, b"wish", False),) * 3)]
    assert alice.count("iwant.over_served") == 997
    alice.hear("bob", iwant(mid))
    assert alice.said("bob") == [Rpc(messages=(Message(TOPIC, b"wish", False),))]
    for _ in range(6):
        alice.beat()
        alice.said("bob")
    alice.hear("bob", iwant(mid))
    assert alice.said("bob") == [], "after six heartbeats it is gone"


def test_a_message_is_spoken_about_for_three_heartbeats_and_given_for_six() -> None:
    """Each heartbeat a newcomer is told of what is spoken about, and Bob asks for what can be had."""
    alice = Alice()
    alice.meet("bob")
    mid = message_id(TOPIC, b"wish")
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    alice.said("bob")
    told: list[bool] = []
    given: list[bool] = []
    for newcomer in crowd(8):
        alice.meet(newcomer)
        alice.beat()
        told.append(alice.said(newcomer) == [Rpc(ihave=(IHave(TOPIC, (mid,)),))])
        alice.meet(f"{newcomer} asks")
        alice.hear(f"{newcomer} asks", iwant(mid))
        given.append(alice.said(f"{newcomer} asks") == [Rpc(messages=(Message(TOPIC, b"wish", False),))])
    assert told == [True] * 3 + [False] * 5
    assert given == [True] * 5 + [False] * 3, "the sixth heartbeat takes it"


def test_ids_are_forgotten_after_a_while_and_then_judged_afresh() -> None:
    judged: list[bytes] = []

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        judged.append(data)
        return Judgement(Verdict.ACCEPT if data == b"good" else Verdict.REJECT)

    alice = Alice(judge)
    alice.meet("bob")
    alice.hear("bob", message(b"good") + message(b"bad"))
    for _ in range(119):
        alice.beat()
    alice.hear("bob", message(b"good") + message(b"bad"))
    assert judged == [b"good", b"bad"]
    for _ in range(130):
        alice.beat()
    alice.hear("bob", message(b"good") + message(b"bad"))
    assert judged == [b"good", b"bad"] * 2
    assert alice.router.statistics().seen_ids == 2


def test_too_many_ids_push_out_the_oldest_of_their_own_kind_only() -> None:
    """Mallory's garbage cannot make Alice forget what she accepted."""

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        return Judgement(Verdict.REJECT if via == "mallory" else Verdict.ACCEPT)

    alice = Alice(judge, Params(seen_max=10, rejected_max=10))
    alice.meet("bob", "mallory")
    alice.hear("bob", message(b"wish"))
    for number in range(100):
        alice.hear("mallory", message(b"garbage %d" % number))
    assert alice.router.statistics().seen_ids <= 11
    assert alice.hear("bob", message(b"wish")) == []
    assert alice.count("message.duplicate") == 1
