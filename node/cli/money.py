"""Amounts of money as people type them: exact, with a currency, and refused if they can be read in two ways."""

import difflib
import re
from typing import Any, Final

from node.trouble import Trouble, usage

CURRENCIES: Final = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT
    MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES
    VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()
)
"""ISO 4217 codes of money that is in use."""

NO_DECIMALS: Final = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
THREE_DECIMALS: Final = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
MAX_MINOR: Final = 10**15

_SIGNS: Final = {"€": "EUR", "£": "GBP", "₹": "INR", "₺": "TRY", "₴": "UAH", "₪": "ILS", "₩": "KRW"}
_SHARED_SIGNS: Final = {"$": "USD, CAD, AUD", "¥": "JPY, CNY", "kr": "SEK, NOK, DKK"}
_SPACES: Final = "[ \u00a0\u202f'_]"
_AMOUNT: Final = r"[0-9](?:[0-9.,'_ \u00a0\u202f]*[0-9])?"
_UNIT: Final = r"[A-Za-z]{2,}|[^\w\s.,+-]"
_MONEY: Final = re.compile(rf"(?:({_UNIT})\s*({_AMOUNT})|({_AMOUNT})\s*({_UNIT})|({_AMOUNT}))")


def parse_money(text: str, where: str) -> dict[str, Any]:
    """`240 EUR`, `EUR 240.50`, `1.200,50 EUR` -> {"minor", "currency"}. `where` names the flag. Raises Trouble."""
    found = _MONEY.fullmatch(text.strip())
    if found is None:
        raise _wrong(where, f"{text!r} is no price", "Write an amount and a currency: '240 EUR' or 'EUR 240.50'.")
    amount = found.group(2) or found.group(3) or found.group(5)
    unit = found.group(1) or found.group(4)
    if unit is None:
        raise _wrong(where, f"{text!r} has no currency", f"Write for example '{text.strip()} EUR'.")
    currency = _currency(unit, where, text)
    return {"minor": _minor(amount, currency, where, text), "currency": currency}


def decimals(currency: str) -> int:
    """Digits behind the point: 2 but for a few."""
    return 0 if currency in NO_DECIMALS else 3 if currency in THREE_DECIMALS else 2


def show_money(money: Any) -> str:
    """{"minor": 24050, "currency": "EUR"} -> `240.50 EUR`; whatever else as it is."""
    if not isinstance(money, dict) or not isinstance(money.get("minor"), int) or "currency" not in money:
        return str(money)
    digits = decimals(str(money["currency"]))
    whole, part = divmod(abs(money["minor"]), 10**digits)
    sign = "-" if money["minor"] < 0 else ""
    return f"{sign}{whole}{f'.{part:0{digits}}' if digits else ''} {money['currency']}"


def _currency(unit: str, where: str, text: str) -> str:
    if unit in _SIGNS:
        return _SIGNS[unit]
    if unit.lower() in _SHARED_SIGNS:
        codes = _SHARED_SIGNS[unit.lower()]
        raise _wrong(where, f"{text!r}: {unit} stands for several currencies", f"Write the code: {codes}, ...")
    if unit.upper() in CURRENCIES:
        return unit.upper()
    near = difflib.get_close_matches(unit.upper(), sorted(CURRENCIES), n=1)
    hint = f"Did you mean {near[0]}?" if near else "Use the ISO 4217 code: EUR, USD, CHF, ..."
    raise _wrong(where, f"{text!r}: {unit} is no currency we know", hint)


def _minor(amount: str, currency: str, where: str, text: str) -> int:
    spaced = re.fullmatch(rf"[0-9]{{1,3}}(?:{_SPACES}[0-9]{{3}})+([.,][0-9]+)?", amount)
    plain = re.sub(_SPACES, "", amount)
    if plain != amount and spaced is None:
        raise _unclear(where, text, amount)
    digits = decimals(currency)
    if re.fullmatch(r"[0-9]+", plain):
        whole, part = plain, ""
    elif (both := re.fullmatch(r"([0-9]{1,3}(?:([.,])[0-9]{3})+)(?!\2)[.,]([0-9]+)", plain)) and _one_kind(both[1]):
        whole, part = re.sub("[.,]", "", both[1]), both[3]
    elif (millions := re.fullmatch(r"[0-9]{1,3}(?:([.,])[0-9]{3})(?:\1[0-9]{3})+", plain)) is not None:
        whole, part = plain.replace(millions[1], ""), ""
    elif (decimal := re.fullmatch(r"([0-9]+)[.,]([0-9]+)", plain)) is not None:
        whole, part = decimal[1], decimal[2]
        if len(part) == 3 and len(whole) <= 3 and not whole.startswith("0") and spaced is None:
            # 1.200 is twelve hundred to some and one point two to others, and both write it without a thought.
            small = f"{whole}.{part[:2]}" if digits < 3 else f"{whole}.{part}0"
            hint = f"Write {whole}{part} {currency}, or {small} {currency}."
            raise _wrong(where, f"{text!r} can be read in two ways", hint)
    else:
        raise _unclear(where, text, amount)
    if len(part) > digits and part[digits:].strip("0"):
        raise _wrong(where, f"{text!r}: {currency} has {digits or 'no'} decimals", f"Round it: {whole} {currency}.")
    minor = int(whole) * 10**digits + int(part[:digits].ljust(digits, "0") or "0")
    if minor > MAX_MINOR:
        raise _wrong(where, f"{text!r} is more money than there is", "")
    return int(minor)


def _one_kind(grouped: str) -> bool:
    return not ("." in grouped and "," in grouped)


def _unclear(where: str, text: str, amount: str) -> Trouble:
    return _wrong(where, f"{text!r}: the amount {amount} is not clear", "Write digits and one point: 1200.50 EUR.")


def _wrong(where: str, message: str, hint: str) -> Trouble:
    return usage("bad_price", f"{where}: {message}", hint)
