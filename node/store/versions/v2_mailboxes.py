"""Mailboxes: what this node left at others', and what it holds for others."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.create_table(
        "deposits",
        sa.Column("message", sa.LargeBinary, primary_key=True),
        sa.Column("mailbox", sa.Text, primary_key=True),
        sa.Column("thread", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
    )
    op.create_index("deposits_thread", "deposits", ["thread"])
    op.create_table(
        "inboxes",
        sa.Column("receiver", sa.LargeBinary, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("room", sa.Integer, nullable=False),
        sa.Column("exp", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("known", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "held",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("receiver", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("channel", sa.LargeBinary, nullable=False),
        sa.Column("item", sa.LargeBinary),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("bits", sa.Integer, nullable=False),
        sa.Column("exp", sa.Integer, nullable=False),
        sa.UniqueConstraint("receiver", "digest"),
    )
