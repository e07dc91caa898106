"""Everything of Dagster that is not public and that we use: the one place to look at when its version changes.

The family is pinned (pyproject.toml); a test imports all of this under the pinned version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.scheduler.instigation import InstigatorType

if TYPE_CHECKING:
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

#: The version whose insides these are.
PINNED = "1.13.27"

__all__ = [
    "PINNED",
    "InstigatorType",
    "UnresolvedAssetJobDefinition",
    "event_log_schema",
    "is_local_compute_log",
    "sql_event_log",
]


def event_log_schema() -> Any:
    """SQLAlchemy's tables of the event log."""
    from dagster._core.storage.event_log import schema

    return schema


def sql_event_log(storage: Any) -> SqlEventLogStorage | None:
    """An event log in a database, None if it is kept elsewhere."""
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

    return storage if isinstance(storage, SqlEventLogStorage) else None


def is_local_compute_log(manager: Any) -> bool:
    """Whether the output of steps is kept in a folder."""
    from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

    return isinstance(manager, LocalComputeLogManager)
