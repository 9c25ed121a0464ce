"""Prices on the command line: node/money.py's reading of them, with the flag that was wrong."""

from collections.abc import Mapping
from typing import Any

from node.money import BadMoney, format_minor
from node.money import parse_money as read_money
from node.trouble import usage


def parse_money(text: str, where: str) -> dict[str, Any]:
    """`240 EUR`, `EUR 240.50`, `1.200,50 EUR` -> {"minor", "currency"}. `where` names the flag. Raises Trouble."""
    try:
        money = read_money(text)
    except BadMoney as wrong:
        raise usage("bad_price", f"{where}: {wrong}", wrong.hint) from None
    return {"minor": money.minor, "currency": money.currency}


def show_money(money: Any) -> str:
    """{"minor": 24050, "currency": "EUR"} -> `240.50 EUR`; whatever else as it is."""
    if not isinstance(money, Mapping) or not isinstance(money.get("minor"), int) or "currency" not in money:
        return str(money)
    currency = str(money["currency"])
    return f"{format_minor(money['minor'], currency)} {currency}"
