"""Its test, against real nodes."""

from peak_rentals import shop


async def test_my_shop_answers(alice, vendor, virtual_time):
    await vendor(shop)
    wish = await alice.ask(title="A 4x4 for the mountains")
    (offer,) = await alice.wait_offers(wish, 1)
    assert offer["total"] == {"minor": 312_00, "currency": "EUR"}
    contract = await alice.accept(offer)
    assert contract["state"] == "confirmed"


async def test_it_answers_when_the_network_heals(alice, vendor, mesh, virtual_time):
    peak = await vendor(shop)
    mesh.partition([peak])
    wish = await alice.ask()
    mesh.heal()
    (offer,) = await alice.wait_offers(wish, 1, seconds=900)
    await peak.crash()
    await peak.start()
    assert (await alice.accept(offer, wait=600))["state"] == "confirmed"
    await peak.wait_state(offer["id"], "confirmed")


async def test_it_meets_a_competitor(alice, bob, vendor, mesh, virtual_time):
    await mesh(3)
    mesh.weather(delay="80ms", loss="5%")
    await vendor(shop)
    await vendor(name="Alpine Cars")
    wish = await alice.ask()
    offers = await alice.wait_offers(wish, 2)
    assert sorted(offer["vendor"]["name"] for offer in offers) == ["Alpine Cars", "Peak Rentals"]
    await bob.ask(title="Me too")
