"""Amounts of money as people write them: exact, with a currency, and refused if they can be read in two ways.

Doors and the vendor's catalogue both read prices with this, so that `42.50 EUR` is the same everywhere.
"""

import difflib
import re
from decimal import Decimal
from typing import Final

from protocol.terms import MAX_MINOR, Money

CURRENCIES: Final = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT
    MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES
    VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()
)
"""ISO 4217 codes of money that is in use."""

_NO_DECIMALS: Final = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
_THREE_DECIMALS: Final = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
_SIGNS: Final = {"€": "EUR", "£": "GBP", "₹": "INR", "₺": "TRY", "₴": "UAH", "₪": "ILS", "₩": "KRW"}
_SHARED_SIGNS: Final = {"$": "USD, CAD, AUD", "¥": "JPY, CNY", "kr": "SEK, NOK, DKK"}

_SPACE: Final = "[ \u00a0\u202f'_]"
_AMOUNT: Final = r"[0-9](?:[0-9.,'_ \u00a0\u202f]*[0-9])?"
_UNIT: Final = r"[A-Za-z]{2,}|[^\w\s.,+-]"
_MONEY: Final = re.compile(
    rf"(?:(?P<before>{_UNIT})\s*(?P<a>{_AMOUNT})|(?P<b>{_AMOUNT})\s*(?P<after>{_UNIT})|(?P<c>{_AMOUNT}))"
)
_SPACED: Final = re.compile(rf"[0-9]{{1,3}}(?:{_SPACE}[0-9]{{3}})+(?:[.,][0-9]+)?")
_GROUPED: Final = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+)\.([0-9]+)|([0-9]{1,3}(?:\.[0-9]{3})+),([0-9]+)")
_MILLIONS: Final = re.compile(r"[0-9]{1,3}(?:(?:,[0-9]{3}){2,}|(?:\.[0-9]{3}){2,})")
_PLAIN: Final = re.compile(r"([0-9]+)(?:[.,]([0-9]+))?")


class BadMoney(ValueError):
    """Not an amount of money; `hint` says how to write it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def exponent(currency: str) -> int:
    """Decimals of a currency (ISO 4217): 2 but for a few."""
    return 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2


def parse_money(text: str, currency: str | None = None) -> Money:
    """`240 EUR`, `€240.50`, `1.200,50 EUR`; an amount alone is in `currency`, if one is given. Raises BadMoney."""
    plain = text.strip()
    if re.match(r"(?:[^\W\d_]+|[^\w\s])?\s*-\s*[0-9]", plain):
        raise BadMoney(f"{text!r} is negative", "An amount of money is 0 or more.")
    found = _MONEY.fullmatch(plain)
    if found is None:
        raise BadMoney(f"{text!r} is no amount of money", "Write an amount and a currency: 240 EUR, or 240.50 EUR.")
    amount, unit = found["a"] or found["b"] or found["c"], found["before"] or found["after"]
    if unit is None and currency is None:
        raise BadMoney(f"{text!r} has no currency", f"Write for example {plain} EUR.")
    code = read_currency(unit) if unit else currency
    assert code is not None
    whole, part = _split(amount, text, code)
    return _exact(whole, part, text, code)


def money_of(number: int | Decimal, currency: str) -> Money:
    """A number, in the currency's major unit (euros, not cents). Raises BadMoney."""
    shown = f"{number} {currency}"
    if isinstance(number, Decimal) and (not number.is_finite() or not -20 < number.adjusted() < 20):
        raise BadMoney(f"{shown} is no amount of money", f"Write for example 42.50 {currency}.")
    whole, _, part = f"{number:f}".partition(".") if isinstance(number, Decimal) else (str(number), "", "")
    if whole.startswith("-"):
        raise BadMoney(f"{shown} is negative", "An amount of money is 0 or more.")
    return _exact(whole, part, shown, currency)


def format_money(money: Money) -> str:
    """`240.50 EUR`. `parse_money` reads it back, but for three decimals: `1.200 KWD` can be read in two ways."""
    return f"{format_minor(money.minor, money.currency)} {money.currency}"


def format_minor(minor: int, currency: str) -> str:
    """Minor units as a decimal text without the currency; may be negative, as a discount is."""
    digits = exponent(currency)
    whole, part = divmod(abs(minor), 10**digits)
    return f"{'-' if minor < 0 else ''}{whole}{f'.{part:0{digits}}' if digits else ''}"


def read_currency(unit: str) -> str:
    """The code of `eur`, `EUR` or `€`. Raises BadMoney for one we do not know, or a sign that several share."""
    if unit in _SIGNS:
        return _SIGNS[unit]
    if unit.lower() in _SHARED_SIGNS:
        codes = _SHARED_SIGNS[unit.lower()]
        raise BadMoney(f"{unit} stands for several currencies", f"Write the code: {codes}, ...")
    if unit.upper() in CURRENCIES:
        return unit.upper()
    near = difflib.get_close_matches(unit.upper(), sorted(CURRENCIES), n=4)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Use the ISO 4217 code: EUR, USD, CHF, ..."
    raise BadMoney(f"{unit!r} is no currency we know", hint)


def _split(amount: str, text: str, currency: str) -> tuple[str, str]:
    """Whole and decimals of an amount that may have marks between thousands."""
    spaced = _SPACED.fullmatch(amount) is not None
    plain = re.sub(_SPACE, "", amount)
    if spaced or plain == amount:
        if grouped := _GROUPED.fullmatch(plain):
            return re.sub("[.,]", "", grouped[1] or grouped[3]), grouped[2] or grouped[4]
        if _MILLIONS.fullmatch(plain):
            return re.sub("[.,]", "", plain), ""
        if number := _PLAIN.fullmatch(plain):
            whole, part = number[1], number[2] or ""
            if len(part) == 3 and len(whole) <= 3 and not spaced:
                # 1.200 is twelve hundred to some and one point two to others, and both write it without a thought.
                small = f"{whole}.{part}0" if exponent(currency) == 3 else f"{whole}.{part[0]}"
                raise BadMoney(
                    f"{text!r} can be read in two ways", f"Write {whole}{part} {currency}, or {small} {currency}."
                )
            return whole, part
    raise BadMoney(f"{text!r}: the amount {amount} is not clear", "Write digits and one point: 1200.50 EUR.")


def _exact(whole: str, part: str, text: str, currency: str) -> Money:
    digits = exponent(currency)
    if part[digits:].strip("0"):
        raise BadMoney(f"{text!r}: {currency} has {digits or 'no'} decimals", f"Round it: {whole} {currency}.")
    if len(whole.lstrip("0")) > 16:
        raise BadMoney(f"{text!r} is more money than there is", "")
    minor = int(whole) * 10**digits + int(part[:digits].ljust(digits, "0") or "0")
    if minor > MAX_MINOR:
        raise BadMoney(f"{text!r} is more money than there is", "")
    return Money(minor, currency)
