"""The first schema: wishes, threads, board, outbox, stock, events."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "wishes",
        sa.Column("root", sa.LargeBinary, primary_key=True),
        sa.Column("author", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("division", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary),
        sa.Column("limit_minor", sa.Integer),
        sa.Column("limit_currency", sa.Text),
        sa.Column("published", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("closed_at", sa.Integer),
    )
    op.create_table(
        "boxes",
        sa.Column("public", sa.LargeBinary, primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "threads",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("requester", sa.LargeBinary, nullable=False),
        sa.Column("vendor", sa.LargeBinary, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("box", sa.LargeBinary, nullable=False),
        sa.Column("next_seq", sa.Integer, nullable=False),
        sa.Column("next_n", sa.Integer, nullable=False),
        sa.Column("peer", sa.Text),
        sa.Column("routes", sa.Text, nullable=False),
    )
    op.create_index("threads_root", "threads", ["root"])
    op.create_table(
        "messages",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("thread", sa.LargeBinary),
        sa.Column("mine", sa.Boolean, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("stored_at", sa.Integer, nullable=False),
        sa.Column("frame", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("answer", sa.LargeBinary),
        sa.UniqueConstraint("id", "root"),
    )
    op.create_index("messages_digest", "messages", ["digest"])
    op.create_index("messages_root", "messages", ["root"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("thread", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("item", sa.LargeBinary, nullable=False),
        sa.Column("exp", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("queued_at", sa.Integer, nullable=False),
        sa.Column("settled_at", sa.Integer),
    )
    op.create_index("outbox_thread", "outbox", ["thread", "state"])
    op.create_table(
        "answered",
        sa.Column("revision", sa.LargeBinary, primary_key=True),
        sa.Column("vendor", sa.LargeBinary, primary_key=True),
        sa.Column("offer", sa.LargeBinary),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("item", sa.Text),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
    )
    op.create_table(
        "postings",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("division", sa.Text, nullable=False),
        sa.Column("exp", sa.Integer, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("frame", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ended",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("author", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("frame", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("author", "root"),
    )
    op.create_table(
        "holds",
        sa.Column("accept", sa.LargeBinary, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("until", sa.Integer, nullable=False),
        sa.Column("confirmed", sa.Boolean, nullable=False),
    )
    op.create_table(
        "takers",
        sa.Column("accept", sa.LargeBinary, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("taker", sa.Text, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
    )
    op.create_table(
        "disclosures",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("vendor", sa.LargeBinary, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
    )
    op.create_table(
        "peers",
        sa.Column("peer", sa.Text, primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("met_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
