"""Version 4: numbers of messages and held items are never used twice; sizes of held items have an index."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    with op.batch_alter_table("messages", recreate="always", table_kwargs={"sqlite_autoincrement": True}):
        pass
    op.drop_table("held")  # of an unreleased version, and foreign
    op.create_table(
        "held",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("receiver", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("channel", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("bits", sa.Integer, nullable=False),
        sa.Column("exp", sa.Integer, nullable=False),
        sa.Column("item", sa.LargeBinary),
        sa.UniqueConstraint("receiver", "digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("held_size", "held", ["receiver", "size"])
    op.create_index("held_exp", "held", ["exp"])
