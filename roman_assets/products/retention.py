"""What may go: objects that no index row names, and products superseded long ago."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from roman_assets.products.products import Products
from roman_assets.products.reading import INDEX_FILE
from roman_assets.products.records import ProductRecord
from roman_assets.storage.base import Stat


@dataclass(frozen=True)
class Collection:
    """What a collection removed, or would remove: orphans, superseded products, their bytes."""

    orphans: tuple[Stat, ...]
    superseded: tuple[ProductRecord, ...]
    bytes: int
    dry_run: bool


def orphans(products: Products, older_than_hours: float = 24.0) -> list[Stat]:
    """Objects that no index row names and that are older than any write in progress can be.

    The leavings of crashed writes: harmless, only room lost.
    """
    # The listing first: an object written and indexed in between is then known to the index.
    before = datetime.now(UTC) - timedelta(hours=older_than_hours)
    listed = [item for item in products.store.list() if item.modified < before]
    named = products.index.keys()
    index_files = tuple(INDEX_FILE + suffix for suffix in ("", "-wal", "-shm", "-journal"))
    return [item for item in listed if item.key not in named and item.key not in index_files]


def collect(
    products: Products,
    *,
    dry_run: bool = True,
    older_than_hours: float = 24.0,
    superseded_after_days: float | None = None,
) -> Collection:
    """Removes orphans, and with `superseded_after_days` the bytes of products superseded before that.

    The row of a removed product stays in the index, and is marked before any byte goes: a crash leaves
    orphans. With `dry_run` nothing is removed.
    """
    now = datetime.now(UTC)
    gone: list[ProductRecord] = []
    if superseded_after_days is not None:
        gone = products.index.superseded(now - timedelta(days=superseded_after_days))
    lost = orphans(products, older_than_hours)
    if not dry_run:
        products.index.mark_removed([record.id for record in gone], now)
        # Two products may share one object: only what no row names any more is deleted.
        named = products.index.keys()
        keys = {key for record in gone for key in (record.key, record.archive_key) if key is not None}
        for key in sorted(keys - named) + [item.key for item in lost if item.key not in named]:
            products.store.delete(key)
    size = sum(item.size for item in lost) + sum(record.size for record in gone)
    return Collection(tuple(lost), tuple(gone), size, dry_run)
