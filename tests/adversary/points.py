"""Ed25519 from first principles, slow and plain: points of small order, points off the main subgroup, spellings that
are not canonical. And what a verifier must say about them, if it is ours.

All of it is worked out here from the curve's equation (RFC 8032, 5.1); no table of others is copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256, sha512
from typing import Final, TypeAlias

P: Final = 2**255 - 19
L: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P

Point: TypeAlias = tuple[int, int]
NEUTRAL: Final[Point] = (0, 1)


def add(one: Point, two: Point) -> Point:
    return _affine(_add(_wide(one), _wide(two)))


def times(factor: int, point: Point) -> Point:
    found, power = _wide(NEUTRAL), _wide(point)
    while factor:
        if factor & 1:
            found = _add(found, power)
        power = _add(power, power)
        factor >>= 1
    return _affine(found)


_Wide: TypeAlias = tuple[int, int, int, int]
"""X, Y, Z and XY/Z: no division for each addition (RFC 8032, 5.1.4)."""


def _wide(point: Point) -> _Wide:
    return point[0], point[1], 1, point[0] * point[1] % P


def _affine(wide: _Wide) -> Point:
    inverse = pow(wide[2], -1, P)
    return wide[0] * inverse % P, wide[1] * inverse % P


def _add(one: _Wide, two: _Wide) -> _Wide:
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c = 2 * one[3] * two[3] * D % P
    d = 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def x_of(y: int, odd: int) -> int | None:
    """The x of that parity; None if there is none. For x = 0 either parity is taken, as careless decoders do."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square:
        root = root * pow(2, (P - 1) // 4, P) % P
    if root * root % P != square:
        return None
    return P - root if root and root & 1 != odd else root


def encoded(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decoded(data: bytes) -> Point | None:
    """Any spelling, canonical or not."""
    number = int.from_bytes(data, "little")
    y = (number & (1 << 255) - 1) % P
    x = x_of(y, number >> 255)
    return None if x is None else (x, y)


def base() -> Point:
    y = 4 * pow(5, -1, P) % P
    x = x_of(y, 0)
    assert x is not None
    return x, y


BASE: Final = base()


def torsion() -> list[Point]:
    """The eight points whose order divides eight."""
    for y in range(2, 1000):
        x = x_of(y, 0)
        if x is not None:
            seed = times(L, (x, y))
            if times(4, seed) != NEUTRAL:
                return [times(n, seed) for n in range(8)]
    raise AssertionError("one in two points leads to a generator")


def spellings(point: Point) -> list[bytes]:
    """Every 32 bytes that a careless decoder takes for this point: y above P where it fits, and the sign of x = 0."""
    x, y = point
    found = []
    for spelled in (y, y + P):
        for odd in (0, 1):
            if spelled < 2**255 and (x == 0 or odd == x & 1):
                found.append((spelled | odd << 255).to_bytes(32, "little"))
    return found


@dataclass(frozen=True)
class Case:
    public: bytes
    signature: bytes
    message: bytes
    what: str

    @property
    def is_cofactored(self) -> bool:
        """Whether [8]([S]B - R - [k]A) is neutral: what a batch verifier would say."""
        return times(8, self._difference()) == NEUTRAL

    def expected(self) -> bool:
        """What every node must say: S below L, A and R spelled canonically and not of small order, and the equation
        without a cofactor."""
        key, r = decoded(self.public), decoded(self.signature[:32])
        s = int.from_bytes(self.signature[32:], "little")
        if key is None or r is None or s >= L or times(8, key) == NEUTRAL or times(8, r) == NEUTRAL:
            return False
        if encoded(key) != self.public or encoded(r) != self.signature[:32]:
            return False
        return self._difference() == NEUTRAL

    def _difference(self) -> Point:
        key, r = decoded(self.public), decoded(self.signature[:32])
        assert key is not None
        assert r is not None
        k = int.from_bytes(sha512(self.signature[:32] + self.public + self.message).digest(), "little") % L
        s = int.from_bytes(self.signature[32:], "little") % (8 * L)
        right = add(r, times(k, key))
        return add(times(s, BASE), (-right[0] % P, right[1]))


def cases() -> Iterator[Case]:
    """All pairs of a key and an R, each honest, of small order in every spelling, or mixed; S to fit; and S + L."""
    small = torsion()
    secret = int.from_bytes(sha256(b"a secret number").digest(), "little") % L
    nonce = int.from_bytes(sha256(b"another").digest(), "little") % L
    keys = [(spelling, 0, f"small {n}") for n, point in enumerate(small) for spelling in spellings(point)]
    keys += [(encoded(add(times(secret, BASE), point)), secret, f"mixed {n}") for n, point in enumerate(small)]
    points = [(spelling, 0, f"small {n}") for n, point in enumerate(small) for spelling in spellings(point)]
    points += [(encoded(add(times(nonce, BASE), point)), nonce, f"mixed {n}") for n, point in enumerate(small)]
    for public, a, of_key in keys:
        for r, b, of_r in points:
            for word in (b"one", b"two"):
                k = int.from_bytes(sha512(r + public + word).digest(), "little") % L
                s = (b + k * a) % L
                yield Case(public, r + s.to_bytes(32, "little"), word, f"A {of_key}, R {of_r}")
    public, r = encoded(times(secret, BASE)), encoded(times(nonce, BASE))
    k = int.from_bytes(sha512(r + public + b"one").digest(), "little") % L
    for multiple in range(1, 16):
        s = (nonce + k * secret) % L + multiple * L
        if s < 2**256:
            yield Case(public, r + s.to_bytes(32, "little"), b"one", f"S + {multiple} L")


def x25519_spellings() -> list[bytes]:
    """Every X25519 public key that leads to the shared secret zero, in every spelling of 32 bytes: the u of the points
    of small order on the curve and on its twist, plus P where it fits, with the unused bit clear and set."""
    curve = [(1 + y) * pow(1 - y, -1, P) % P for _, y in torsion() if y != 1]
    found = {u + extra for u in (*curve, 0, 1, P - 1) for extra in (0, P) if u + extra < 2**255}
    return [(u | bit << 255).to_bytes(32, "little") for u in sorted(found) for bit in (0, 1)]
