"""What survives a restart, as tables. Blobs are ids and keys (32 bytes) or frames and items as they travelled."""

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

SCHEMA_VERSION = 5
"""The newest of versions/, which say how an older store comes here."""

metadata = MetaData()

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

wishes = Table(
    "wishes",
    metadata,
    Column("root", LargeBinary, primary_key=True),
    Column("author", LargeBinary, nullable=False, unique=True),
    Column("division", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("secret", LargeBinary, comment="the wish's signing seed; gone after close and grace"),
    Column("limit_minor", Integer, comment="the private limit: never leaves this table"),
    Column("limit_currency", Text),
    Column("published", Boolean, nullable=False, comment="written to at least one peer"),
    Column("created_at", Integer, nullable=False),
    Column("closed_at", Integer),
)

boxes = Table(
    "boxes",
    metadata,
    Column("public", LargeBinary, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("side", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    comment="X25519 secrets by public key; deleting a row is the forward secrecy we promise",
)

threads = Table(
    "threads",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("root", LargeBinary, nullable=False),
    Column("requester", LargeBinary, nullable=False),
    Column("vendor", LargeBinary, nullable=False),
    Column("side", Text, nullable=False),
    Column("box", LargeBinary, nullable=False, comment="our X25519 public key in this thread"),
    Column("next_seq", Integer, nullable=False),
    Column("next_n", Integer, nullable=False),
    Column("peer", Text, comment="transport peer last seen for it"),
    Column("routes", Text, nullable=False, comment="addresses of the other side, one a line, newest first"),
    Index("threads_root", "root"),
)

messages = Table(
    "messages",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True, comment="the order in which they were stored"),
    Column("id", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("thread", LargeBinary, comment="null: a revision of the wish itself"),
    Column("mine", Boolean, nullable=False),
    Column("kind", Text, nullable=False),
    Column("stored_at", Integer, nullable=False),
    Column("frame", LargeBinary, nullable=False),
    Column("digest", LargeBinary, comment="of the item it came in"),
    Column("answer", LargeBinary, comment="the sealed ack or problem it got, byte for byte"),
    UniqueConstraint("id", "root"),
    Index("messages_digest", "digest"),
    Index("messages_root", "root"),
    sqlite_autoincrement=True,
)

expired = Table(
    "expired",
    metadata,
    Column("offer", LargeBinary, primary_key=True),
    Column("thread", LargeBinary, nullable=False),
    Column("after", Integer, nullable=False, comment="the number of the last message stored before"),
    Index("expired_thread", "thread"),
    comment="offers and accepts that time alone ended: at another hour a replay would find them open",
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", LargeBinary, primary_key=True, comment="of the message inside"),
    Column("thread", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("item", LargeBinary, nullable=False),
    Column("exp", Integer, nullable=False),
    Column("state", Text, nullable=False, comment="QUEUED until it is settled"),
    Column("reason", Text),
    Column("queued_at", Integer, nullable=False),
    Column("settled_at", Integer),
    Index("outbox_thread", "thread", "state"),
)

deposits = Table(
    "deposits",
    metadata,
    Column("message", LargeBinary, primary_key=True),
    Column("mailbox", Text, primary_key=True, comment="its address"),
    Column("thread", LargeBinary, nullable=False),
    Column("state", Text, nullable=False, comment="STORED or FETCHED, as the mailbox says"),
    Column("at", Integer, nullable=False),
    Index("deposits_thread", "thread"),
    comment="messages of ours that were left at their receivers' mailboxes",
)

inboxes = Table(
    "inboxes",
    metadata,
    Column("receiver", LargeBinary, primary_key=True, comment="the signing key that may fetch"),
    Column("seq", Integer, nullable=False, comment="of the newest grant"),
    Column("room", Integer, nullable=False, comment="how many bytes is held for it at most"),
    Column("exp", Integer, nullable=False),
    Column("source", Text, nullable=False, comment="where its first grant came from"),
    Column("known", LargeBinary, nullable=False, comment="channels it wants to hear first, 32 bytes each"),
    comment="whom this node holds items for, if it is a mailbox",
)

held = Table(
    "held",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True, comment="the order in which they came"),
    Column("receiver", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("channel", LargeBinary, nullable=False, comment="digest of the two X25519 keys it goes between"),
    Column("size", Integer, nullable=False),
    Column("bits", Integer, nullable=False, comment="its stamp's, less for large ones; 256 on a known channel"),
    Column("exp", Integer, nullable=False),
    Column("item", LargeBinary, comment="null: it was fetched"),
    UniqueConstraint("receiver", "digest"),
    Index("held_size", "receiver", "size"),
    Index("held_exp", "exp"),
    sqlite_autoincrement=True,
    comment="other people's sealed items, and which of them were fetched",
)

answered = Table(
    "answered",
    metadata,
    Column("revision", LargeBinary, primary_key=True),
    Column("vendor", LargeBinary, primary_key=True),
    Column("offer", LargeBinary, comment="null: looked at and passed over"),
    Column("why", Text, nullable=False),
    Column("item", Text, comment="of the catalogue; null for an offer by hand"),
    Column("count", Integer, nullable=False),
    Column("at", Integer, nullable=False),
)

postings = Table(
    "postings",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("division", Text, nullable=False),
    Column("exp", Integer, nullable=False),
    Column("via", Text, nullable=False),
    Column("held", Boolean, nullable=False),
    Column("frame", LargeBinary, nullable=False),
    comment="the board, so that a restarted node neither forgets wishes nor revives withdrawn ones",
)

ended = Table(
    "ended",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("author", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False, comment="as the author claims"),
    Column("state", Text, nullable=False),
    Column("frame", LargeBinary, nullable=False),
    UniqueConstraint("author", "root"),
    comment="the last of other people's wishes that are over, for their readers; bounded",
)

holds = Table(
    "holds",
    metadata,
    Column("accept", LargeBinary, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("until", Integer, nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Column("at", Integer, nullable=False, server_default="0"),
    Column("start", Integer, comment="the time it is for, of what comes back; null: for good"),
    Column("end", Integer),
    comment="stock promised to an accept: while it is decided, and for good once confirmed",
)

takers = Table(
    "takers",
    metadata,
    Column("accept", LargeBinary, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("taker", Text, primary_key=True, comment="transport peer or subnet"),
    Column("count", Integer, nullable=False),
    Column("at", Integer, nullable=False),
    comment="who took how much of what in the last hour: one stranger must not take all",
)

tallies = Table(
    "tallies",
    metadata,
    Column("day", Integer, primary_key=True, comment="since 1970, UTC"),
    Column("name", Text, primary_key=True),
    Column("count", Integer, nullable=False),
    comment="what a vendor did and what became of it, by day",
)

hooks = Table(
    "hooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False, comment="empty: the incoming one"),
    Column("events", Text, nullable=False, comment="one a line"),
    Column("secrets", Text, nullable=False, comment="JSON: [[secret, valid until or null], ...], newest first"),
    Column("allow_private", Boolean, nullable=False),
    Column("state", Text, nullable=False, comment="on, gone (it answered 410) or off"),
    Column("since", Integer, nullable=False, comment="number of the last event put into the queue"),
    Column("created_at", Integer, nullable=False),
    comment="where a vendor's own systems are told what happens",
)

hook_sends = Table(
    "hook_sends",
    metadata,
    Column("id", Text, primary_key=True, comment="webhook-id: the same at every attempt"),
    Column("hook", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due", Integer, nullable=False, comment="when it is tried next"),
    Column("state", Text, nullable=False, comment="waiting, done or failed"),
    Column("why", Text),
    Column("at", Integer, nullable=False),
    Index("hook_sends_due", "state", "due"),
)

hook_seen = Table(
    "hook_seen",
    metadata,
    Column("id", Text, primary_key=True, comment="webhook-id of what came in"),
    Column("status", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", Integer, nullable=False),
    comment="so that a request that comes twice does its work once",
)

disclosures = Table(
    "disclosures",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("root", LargeBinary, nullable=False),
    Column("vendor", LargeBinary, nullable=False),
    Column("what", Text, nullable=False),
    Column("at", Integer, nullable=False),
    comment="what a person told which vendor",
)

peers = Table(
    "peers",
    metadata,
    Column("peer", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("met_at", Integer, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("type", Text, nullable=False),
    Column("at", Integer, nullable=False),
    Column("data", Text, nullable=False),
    sqlite_autoincrement=True,
)
