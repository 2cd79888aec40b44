"""The tables of PostgreSQL, as SQLAlchemy Core describes them. What they mean is in each subject's model."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# A foreign key takes its type from the column that it points to, which SQLAlchemy knows and its annotations do not.

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

NOW = text("now()")
EMPTY = text("'{}'::jsonb")
EMPTY_LIST = text("'[]'::jsonb")
DEAD = "('TERMINATED', 'CANCELLED', 'ERROR')"


def _moment(name: str, *, default: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not default, server_default=NOW if default else None)


domains = Table(
    "domains",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    _moment("created_at", default=True),
    _moment("modified_at", default=True),
    Column("total_resource_slots", JSONB, nullable=False, server_default=EMPTY),
    Column("allowed_vfolder_hosts", JSONB, nullable=False, server_default=EMPTY),
    Column("allowed_docker_registries", ARRAY(String), nullable=False, server_default=text("'{}'")),
    Column("integration_id", String(512)),
)

keypair_resource_policies = Table(
    "keypair_resource_policies",
    metadata,
    Column("name", String(256), primary_key=True),
    _moment("created_at", default=True),
    Column("default_for_unspecified", String(16), nullable=False, server_default="UNLIMITED"),
    Column("total_resource_slots", JSONB, nullable=False, server_default=EMPTY),
    Column("max_session_lifetime", Integer, nullable=False, server_default="0"),
    Column("max_concurrent_sessions", Integer, nullable=False, server_default="30"),
    Column("max_concurrent_sftp_sessions", Integer, nullable=False, server_default="1"),
    Column("max_containers_per_session", Integer, nullable=False, server_default="1"),
    Column("max_pending_session_count", Integer),
    Column("max_pending_session_resource_slots", JSONB),
    Column("idle_timeout", BigInteger, nullable=False, server_default="1800"),
    Column("allowed_vfolder_hosts", JSONB, nullable=False, server_default=EMPTY),
)

user_resource_policies = Table(
    "user_resource_policies",
    metadata,
    Column("name", String(256), primary_key=True),
    _moment("created_at", default=True),
    Column("max_vfolder_count", Integer, nullable=False, server_default="10"),
    Column("max_quota_scope_size", BigInteger, nullable=False, server_default="-1"),
    Column("max_session_count_per_model_session", Integer, nullable=False, server_default="10"),
    Column("max_customized_image_count", Integer, nullable=False, server_default="3"),
)

project_resource_policies = Table(
    "project_resource_policies",
    metadata,
    Column("name", String(256), primary_key=True),
    _moment("created_at", default=True),
    Column("max_vfolder_count", Integer, nullable=False, server_default="10"),
    Column("max_quota_scope_size", BigInteger, nullable=False, server_default="-1"),
    Column("max_network_count", Integer, nullable=False, server_default="3"),
)

projects = Table(
    "projects",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("domain_name", ForeignKey("domains.name", onupdate="CASCADE"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("type", String(16), nullable=False, server_default="GENERAL"),
    _moment("created_at", default=True),
    _moment("modified_at", default=True),
    Column("total_resource_slots", JSONB, nullable=False, server_default=EMPTY),
    Column("allowed_vfolder_hosts", JSONB, nullable=False, server_default=EMPTY),
    Column("integration_id", String(512)),
    Column("resource_policy", ForeignKey("project_resource_policies.name"), nullable=False),
    Column("container_registry", JSONB, nullable=False, server_default=EMPTY),
    UniqueConstraint("domain_name", "name"),
)

users = Table(
    "users",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("username", String(64), nullable=False, unique=True),
    Column("email", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("need_password_change", Boolean, nullable=False, server_default=text("false")),
    _moment("password_changed_at", default=True),
    Column("full_name", String(64), nullable=False, server_default=""),
    Column("description", String(500), nullable=False, server_default=""),
    Column("status", String(24), nullable=False, server_default="active"),
    Column("status_info", Text),
    Column("role", String(16), nullable=False, server_default="user"),
    Column("domain_name", ForeignKey("domains.name", onupdate="CASCADE"), nullable=False),
    Column("resource_policy", ForeignKey("user_resource_policies.name"), nullable=False),
    Column("allowed_client_ip", ARRAY(String)),
    Column("main_access_key", String(20)),
    Column("totp_activated", Boolean, nullable=False, server_default=text("false")),
    Column("sudo_session_enabled", Boolean, nullable=False, server_default=text("false")),
    _moment("created_at", default=True),
    _moment("modified_at", default=True),
)

project_members = Table(
    "project_members",
    metadata,
    Column("project_id", ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
)

keypairs = Table(
    "keypairs",
    metadata,
    Column("access_key", String(20), primary_key=True),
    Column("secret_ciphertext", Text, nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("is_admin", Boolean, nullable=False, server_default=text("false")),
    Column("resource_policy", ForeignKey("keypair_resource_policies.name"), nullable=False),
    Column("rate_limit", Integer, nullable=False, server_default="30000"),
    Column("ssh_public_key", Text),
    Column("num_queries", Integer, nullable=False, server_default="0"),
    _moment("created_at", default=True),
    _moment("modified_at", default=True),
    _moment("last_used"),
)

scaling_groups = Table(
    "scaling_groups",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("is_public", Boolean, nullable=False, server_default=text("true")),
    _moment("created_at", default=True),
    Column("wsproxy_addr", String(1024)),
    Column("driver", String(64), nullable=False, server_default="nomad"),
    Column("driver_opts", JSONB, nullable=False, server_default=EMPTY),
    Column("scheduler", String(64), nullable=False, server_default="fifo"),
    Column("scheduler_opts", JSONB, nullable=False, server_default=EMPTY),
    Column("use_host_network", Boolean, nullable=False, server_default=text("false")),
)

scaling_groups_of_domains = Table(
    "scaling_groups_of_domains",
    metadata,
    Column("scaling_group", ForeignKey("scaling_groups.name", ondelete="CASCADE"), primary_key=True),
    Column("domain_name", ForeignKey("domains.name", ondelete="CASCADE", onupdate="CASCADE"), primary_key=True),
)

scaling_groups_of_projects = Table(
    "scaling_groups_of_projects",
    metadata,
    Column("scaling_group", ForeignKey("scaling_groups.name", ondelete="CASCADE"), primary_key=True),
    Column("project_id", ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True, index=True),
)

scaling_groups_of_keypairs = Table(
    "scaling_groups_of_keypairs",
    metadata,
    Column("scaling_group", ForeignKey("scaling_groups.name", ondelete="CASCADE"), primary_key=True),
    Column("access_key", ForeignKey("keypairs.access_key", ondelete="CASCADE"), primary_key=True, index=True),
)

resource_presets = Table(
    "resource_presets",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("name", String(256), nullable=False),
    Column("resource_slots", JSONB, nullable=False),
    Column("shared_memory", BigInteger),
    Column("scaling_group", ForeignKey("scaling_groups.name", ondelete="CASCADE"), index=True),
    UniqueConstraint("name", "scaling_group", postgresql_nulls_not_distinct=True),
)

nodes = Table(
    "nodes",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("node_id", UUID(as_uuid=True), nullable=False, unique=True),
    Column("status", String(16), nullable=False),
    _moment("status_changed", default=True),
    Column("region", String(64), nullable=False),
    Column("scaling_group", ForeignKey("scaling_groups.name"), nullable=False, index=True),
    Column("schedulable", Boolean, nullable=False, server_default=text("true")),
    Column("architecture", String(32), nullable=False),
    Column("version", String(64), nullable=False),
    Column("url", String(256), nullable=False),
    Column("slots", JSONB, nullable=False),
    Column("devices", JSONB, nullable=False, server_default=EMPTY_LIST),
    Column("statistics", JSONB, nullable=False, server_default=EMPTY),
    Column("images", ARRAY(String), nullable=False, server_default=text("'{}'")),
    Column("volumes", ARRAY(String), nullable=False, server_default=text("'{}'")),
    _moment("first_contact", default=True),
    _moment("last_heartbeat", default=True),
    _moment("said_at"),
    _moment("lost_at"),
)

images = Table(
    "images",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("registry", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("tag", String(128), nullable=False),
    Column("architecture", String(32), nullable=False),
    Column("digest", String(72), nullable=False),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("is_local", Boolean, nullable=False, server_default=text("false")),
    Column("status", String(16), nullable=False, server_default="ALIVE"),
    Column("labels", JSONB, nullable=False, server_default=EMPTY),
    Column("accelerators", ARRAY(String), nullable=False, server_default=text("'{}'")),
    _moment("created_at", default=True),
    UniqueConstraint("registry", "name", "tag", "architecture"),
)

image_aliases = Table(
    "image_aliases",
    metadata,
    Column("alias", String(128), primary_key=True),
    Column("image_id", ForeignKey("images.id", ondelete="CASCADE"), nullable=False, index=True),
)

vfolders = Table(
    "vfolders",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("host", String(128), nullable=False),
    Column("quota_scope_id", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("domain_name", ForeignKey("domains.name", onupdate="CASCADE"), nullable=False),
    Column("user_id", ForeignKey("users.id"), index=True),
    Column("project_id", ForeignKey("projects.id"), index=True),
    Column("creator", String(64), nullable=False),
    Column("ownership_type", String(8), nullable=False),
    Column("usage_mode", String(16), nullable=False),
    Column("permission", String(4), nullable=False),
    Column("cloneable", Boolean, nullable=False, server_default=text("false")),
    Column("status", String(24), nullable=False),
    Column("max_files", Integer, nullable=False, server_default="0"),
    Column("max_size", BigInteger),
    _moment("created_at", default=True),
    _moment("last_used"),
    _moment("status_changed", default=True),
)
Index(
    "uq_vfolders_live_name",
    vfolders.c.quota_scope_id,
    vfolders.c.name,
    unique=True,
    postgresql_where=text("status not in ('delete-pending', 'delete-ongoing', 'delete-complete', 'delete-error')"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("type", String(16), nullable=False),
    Column("priority", Integer, nullable=False, server_default="10"),
    Column("tag", String(64)),
    Column("domain_name", ForeignKey("domains.name", onupdate="CASCADE"), nullable=False),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("access_key", ForeignKey("keypairs.access_key"), nullable=False),
    Column("scaling_group", ForeignKey("scaling_groups.name"), nullable=False),
    Column("image", String(512), nullable=False),
    Column("registry", String(256), nullable=False),
    Column("architecture", String(32), nullable=False),
    Column("cluster_mode", String(16), nullable=False),
    Column("cluster_size", Integer, nullable=False),
    Column("designated", ARRAY(String), nullable=False, server_default=text("'{}'")),
    Column("requested_slots", JSONB, nullable=False),
    Column("resource_opts", JSONB, nullable=False, server_default=EMPTY),
    Column("environ", JSONB, nullable=False, server_default=EMPTY),
    Column("mounts", JSONB, nullable=False, server_default=EMPTY_LIST),
    Column("startup_command", Text),
    Column("bootstrap_script", Text),
    Column("service_ports", JSONB, nullable=False, server_default=EMPTY_LIST),
    Column("callback_url", Text),
    Column("status", String(24), nullable=False),
    Column("status_info", Text, nullable=False, server_default=""),
    Column("status_data", JSONB, nullable=False, server_default=EMPTY),
    _moment("status_changed", default=True),
    Column("status_history", JSONB, nullable=False, server_default=EMPTY),
    Column("result", String(16), nullable=False, server_default="undefined"),
    _moment("created_at", default=True),
    _moment("starts_at"),
    _moment("scheduled_at"),
    _moment("terminated_at"),
    Column("batch_timeout_seconds", Double),
    _moment("deadline"),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("endpoint_id", UUID(as_uuid=True)),
    Column("sequence", BigInteger, Identity(), nullable=False, unique=True),
)
Index(
    "uq_sessions_live_name",
    sessions.c.access_key,
    sessions.c.name,
    unique=True,
    postgresql_where=text(f"status not in {DEAD}"),
)
Index("ix_sessions_live", sessions.c.status, postgresql_where=text(f"status not in {DEAD}"))
Index("ix_sessions_access_key_name_created_at", sessions.c.access_key, sessions.c.name, sessions.c.created_at)
Index("ix_sessions_access_key_created_at", sessions.c.access_key, sessions.c.created_at)

session_dependencies = Table(
    "session_dependencies",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("depends_on", ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True, index=True),
)

kernels = Table(
    "kernels",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("cluster_role", String(16), nullable=False),
    Column("cluster_idx", Integer, nullable=False),
    Column("cluster_hostname", String(64), nullable=False),
    Column("slots", JSONB, nullable=False),
    Column("node", ForeignKey("nodes.name")),
    Column("devices", JSONB, nullable=False, server_default=EMPTY_LIST),
    Column("container_id", String(64)),
    Column("status", String(24), nullable=False),
    _moment("status_changed", default=True),
    Column("exit_code", Integer),
    _moment("created_at", default=True),
    _moment("terminated_at"),
    UniqueConstraint("session_id", "cluster_role", "cluster_idx"),
)
Index(
    "ix_kernels_live",
    kernels.c.node,
    postgresql_where=text(f"node is not null and status not in {DEAD}"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _moment("at", default=True),
    Column("actor", UUID(as_uuid=True)),
    Column("access_key", String(20)),
    Column("action", String(64), nullable=False),
    Column("target_type", String(32), nullable=False),
    Column("target", String(128), nullable=False),
    Column("facts", JSONB, nullable=False, server_default=EMPTY),
)
Index("ix_audit_log_target", audit_log.c.target_type, audit_log.c.target)

scheduler_passes = Table(
    "scheduler_passes",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("taken_at", DateTime(timezone=True), nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False),
    *(
        Column(name, Integer, nullable=False)
        for name in ("pending", "placed", "placements", "waits", "cancellations", "bytes")
    ),
    Column("snapshot", LargeBinary, nullable=False),
    Column("decisions", LargeBinary, nullable=False),
)
