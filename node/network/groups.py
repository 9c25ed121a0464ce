"""One error out of the groups that nurseries wrap around it."""

from typing import NoReturn


def raise_single(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Raise the one thing that went wrong as itself, however deep it is wrapped; several stay the group they are."""
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
        leaf = leaf.exceptions[0]
    raise leaf from leaf.__cause__
