"""Mailboxes: being one, leaving something at one, and fetching what others left for us."""

from .host import PROTOCOL, MailboxHost
from .inbox import Inboxes
from .leaving import Leaving

__all__ = ["PROTOCOL", "Inboxes", "Leaving", "MailboxHost"]
