"""Who may have how many messages judged: weighted fair shares, and nothing lost while there is enough for all.

Judging costs: a signature, a decode, a look at the board. When more comes in than the node can judge, something is
ignored, and the question is only whose. Here each link earns tokens at its weight's part of the whole, and saves a
few seconds of them. What a link cannot save goes to those that ran out, or, when nobody did, into a pool that anybody
may draw from. So a link that brings 10,000 frames gets what the others leave over, and never what is theirs.

No queue, no chance, and no work while nothing comes in.
"""

from typing import Final

_EVERY: Final = 0.05
"""Seconds between two payments: paying costs a look at every link."""
_LEAST: Final = 10.0
"""Tokens any link may save, however many links there are: messages come in handfuls."""


class Share:
    """One link's part."""

    __slots__ = ("hungry", "tokens", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.tokens = 0.0  # a new link has saved nothing, or it would pay to hang up and come again
        self.hungry = False
        """It wanted more than it had, since the last payment."""


class FairShare:
    __slots__ = ("_burst", "_paid", "_rate", "_shares", "pool")

    def __init__(self, per_second: float, burst: float) -> None:
        """`burst`: seconds of income a link, and the pool, can save."""
        self._rate = per_second
        self._burst = burst
        self._shares: dict[Share, None] = {}
        self._paid: float | None = None
        self.pool = per_second * burst

    def join(self, weight: float) -> Share:
        share = Share(weight)
        self._shares[share] = None
        return share

    def leave(self, share: Share) -> None:
        self._shares.pop(share, None)

    def admit(self, share: Share, now: float) -> bool:
        """Whether one more message of this link may be judged now."""
        if self._paid is None or now - self._paid >= _EVERY:
            self._pay(now)
        if share.tokens >= 1:
            share.tokens -= 1
            return True
        share.hungry = True
        if self.pool >= 1:
            self.pool -= 1
            return True
        return False

    def _pay(self, now: float) -> None:
        # Nobody saves for longer than the burst, so a long silence is worth no more than that.
        seconds = self._burst if self._paid is None else min(now - self._paid, self._burst)
        self._paid = now
        unit = self._rate / sum([share.weight for share in self._shares])
        left = 0.0
        hungry = 0.0
        for share in self._shares:
            share.tokens += unit * share.weight * seconds
            most = max(_LEAST, unit * share.weight * self._burst)
            if share.tokens > most:
                left += share.tokens - most
                share.tokens = most
            if share.hungry:
                hungry += share.weight
        if not hungry:
            self.pool = min(self.pool + left, self._rate * self._burst)
            return
        for share in self._shares:
            if share.hungry:
                share.tokens += left * share.weight / hungry
                share.hungry = False
