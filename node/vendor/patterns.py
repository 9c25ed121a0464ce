"""Which wishes a vendor listens to: patterns of categories, checked against the tree so that a slip is told at once."""

from protocol.categories import (
    UnknownCategory,
    divisions_of_pattern,
    matches_pattern,
    pattern_segments,
    resolve,
    tree,
)


def check_pattern(text: str) -> str:
    """A pattern that something in the tree matches; a bare category stands as it is, a word becomes its category.

    Raises BadPattern or UnknownCategory (with what is nearest).
    """
    text = text.strip().lower()
    if "*" not in text:
        return resolve(text)
    segments = pattern_segments(text)
    divisions_of_pattern(text)
    head = ".".join(segments[: next(index for index, segment in enumerate(segments) if "*" in segment)])
    if head:
        resolve(head)
    pattern = ".".join(segments)
    if not any(matches_pattern(pattern, slug) for slug in tree()):
        raise UnknownCategory(text, tuple(slug for slug in tree() if slug.startswith(head))[:3])
    return pattern


def suggest(bad: UnknownCategory) -> str:
    """How to mend an unknown category."""
    if bad.suggestions:
        return f"Did you mean {' or '.join(bad.suggestions)}?"
    return "The whole tree is in protocol/categories.toml; everyday words work too: plumber, car hire."
