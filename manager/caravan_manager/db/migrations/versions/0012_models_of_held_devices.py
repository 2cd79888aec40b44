"""The model of each device that a kernel holds, which quotas count; a device that its node forgot has none"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        UPDATE kernels SET devices = (
            SELECT jsonb_agg(held || jsonb_build_object('model', coalesce((
                SELECT known ->> 'model' FROM nodes, jsonb_array_elements(nodes.devices) AS known
                WHERE nodes.name = kernels.node
                    AND known ->> 'slot' = held ->> 'slot' AND known ->> 'id' = held ->> 'id'
                LIMIT 1
            ), '')) ORDER BY place)
            FROM jsonb_array_elements(kernels.devices) WITH ORDINALITY AS each_one (held, place)
        )
        WHERE devices <> '[]' AND status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')
    """)


def downgrade() -> None:
    op.execute("""
        UPDATE kernels SET devices = (
            SELECT jsonb_agg(held - 'model' ORDER BY place)
            FROM jsonb_array_elements(kernels.devices) WITH ORDINALITY AS each_one (held, place)
        )
        WHERE devices <> '[]'
    """)
