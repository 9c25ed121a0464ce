"""Somebody's bot: rents out one Suzuki, dearer at weekends, and never below what it costs."""

from node.vendor import Vendor

shop = Vendor("Peak Rentals", categories=["mobility.car.**"], contact="+33 4 00 00 00 09")


@shop.on_intent(action="rent")
def quote(wish, ctx):
    return ctx.offer(total="312.00 EUR", props={"drive": "4x4"}, note="Key box at the station.", valid_for="2h")
