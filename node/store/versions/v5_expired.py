"""Version 5: what time alone ended stays ended, whatever hour a later start takes it to be."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    op.create_table(
        "expired",
        sa.Column("offer", sa.LargeBinary, primary_key=True),
        sa.Column("thread", sa.LargeBinary, nullable=False),
        sa.Column("after", sa.Integer, nullable=False),
    )
    op.create_index("expired_thread", "expired", ["thread"])
    op.execute("INSERT INTO meta (name, value) VALUES ('expired_are_told', '1')")
