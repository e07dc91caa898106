"""What may go: objects that no index row names, and products superseded long ago."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from roman_assets.products.adoption import adoptable
from roman_assets.products.keys import ROW_SUFFIX, row_key
from roman_assets.products.products import Products
from roman_assets.products.reading import INDEX_FILE
from roman_assets.products.records import ProductRecord
from roman_assets.storage.base import Stat


@dataclass(frozen=True)
class Collection:
    """What a collection removed, or would remove: orphans, superseded products, their bytes.

    `adoptable` are products that the index lacks and that are whole (keys of their row files): they were left.
    """

    orphans: tuple[Stat, ...]
    superseded: tuple[ProductRecord, ...]
    bytes: int
    dry_run: bool
    adoptable: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Unnamed:
    """Objects that no row names: orphans, the row files of products to adopt, and all that belongs to those."""

    orphans: list[Stat]
    adoptable: list[str]
    kept: set[str]


def orphans(products: Products, older_than_hours: float = 24.0) -> list[Stat]:
    """Objects that no index row names, older than any write in progress can be, and of no product to be adopted.

    The leavings of crashed writes: harmless, only room lost.

    Raises
    ------
    Unavailable, DatabaseUnavailable
        Store or index do not answer now.
    """
    return _unnamed(products, older_than_hours).orphans


def _unnamed(products: Products, older_than_hours: float) -> _Unnamed:
    # The listing first: an object written and indexed in between is then known to the index.
    before = datetime.now(UTC) - timedelta(hours=older_than_hours)
    index_files = tuple(INDEX_FILE + suffix for suffix in ("", "-wal", "-shm", "-journal"))
    listed: dict[str, Stat] = {}
    row_files = []
    for item in products.store.list():
        # Row files of any age: a young one may belong to old bytes.
        if item.key.endswith(ROW_SUFFIX):
            row_files.append(item.key)
        if item.modified < before and item.key not in index_files:
            listed[item.key] = item
    left = products.index.unnamed({*listed, *row_files})
    found = _Unnamed([], [], set())
    for key in sorted(key for key in left if key.endswith(ROW_SUFFIX)):
        if (new := adoptable(products, key)) is not None:
            found.adoptable.append(key)
            found.kept.update(name for name in (key, new.key, new.archive_key) if name is not None)
    found.orphans.extend(item for key, item in listed.items() if key in left and key not in found.kept)
    return found


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

    Raises
    ------
    Unavailable, DatabaseUnavailable
        Store or index do not answer now.
    """
    now = datetime.now(UTC)
    gone: list[ProductRecord] = []
    if superseded_after_days is not None:
        gone = products.index.superseded(now - timedelta(days=superseded_after_days))
    lost = _unnamed(products, older_than_hours)
    if not dry_run:
        products.index.mark_removed([record.id for record in gone], now)
        keys = {item.key for item in lost.orphans}
        for record in gone:
            keys.update((record.key, row_key(record.key, record.part, record.identity)))
            keys.update(() if record.archive_key is None else (record.archive_key,))
        # Two products may share one object: only what no row names any more, and no product to adopt, is deleted.
        # Row files first: none is left without the bytes that it speaks of.
        for key in sorted(
            products.index.unnamed(keys) - lost.kept, key=lambda key: (not key.endswith(ROW_SUFFIX), key)
        ):
            products.store.delete(key)
    size = sum(item.size for item in lost.orphans) + sum(record.size for record in gone)
    return Collection(tuple(lost.orphans), tuple(gone), size, dry_run, tuple(lost.adoptable))
