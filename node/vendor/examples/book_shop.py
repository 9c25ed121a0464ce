"""A second-hand book shop: every book is there once, and is found by its ISBN or by its title.

    python -m node.vendor.examples.book_shop

The node counts: of two who accept the same book, one gets it. For a long list without code see `[[lists]]` in
node/vendor/README.md.
"""

from dataclasses import dataclass

from node.vendor import Context, Decline, Quote, Vendor, Wish

shop = Vendor("Second Story Books", categories=["media.book", "media.book.**"], contact="books@example.org")


@dataclass(frozen=True)
class Book:
    isbn: str
    title: str
    author: str
    condition: str
    price: int
    """Euro cents."""


SHELF = (
    Book("9780156001311", "The Name of the Rose", "Umberto Eco", "good", 750),
    Book("9780553380958", "Snow Crash", "Neal Stephenson", "like-new", 900),
    Book("9780141439518", "Pride and Prejudice", "Jane Austen", "worn", 300),
)
POSTAGE = 320


@shop.on_intent(action="buy")
def quote(wish: Wish, ctx: Context) -> Quote | Decline | None:
    found = _find(wish)
    if found is None:
        return None
    if wish.quantity > 1:
        return ctx.decline("capacity", "every book is here once")
    return ctx.offer(
        lines=[(f"{found.author}: {found.title}", 1, "piece", found.price)],
        currency="EUR",
        fees={"Postage": POSTAGE},
        props={"gtin": found.isbn, "author": found.author, "condition": found.condition},
        valid_for="1d",
        stock=found.isbn,
        of=1,
    )


def _find(wish: Wish) -> Book | None:
    wanted = wish.wants("isbn")
    if wanted is not None:
        codes = wanted if isinstance(wanted, tuple) else (wanted,)
        return next((book for book in SHELF if book.isbn in {str(code) for code in codes}), None)
    # All of the title's words, or it is another book.
    return next((book for book in SHELF if Wish.words_in(book.title) <= wish.words), None)


if __name__ == "__main__":
    shop.run()
