"""The index of products: the truth about what exists, from what it was made, where it lies on the sky.
 A product is visible from the moment one transaction has committed its row and superseded the older one of
the same kind, partition and part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from roman_assets.products.caveats import Caveat
from roman_assets.products.index_changes import (
    Verdict,
    adopt,
    insert,
    judge,
    lock_slot,
    make_current,
    record_incident,
    utc,
)
from roman_assets.products.index_queries import caveats_by_code, right_ascensions, slot_of, visible
from roman_assets.products.index_tables import PROMOTED, TABLES, incidents, products
from roman_assets.products.keys import row_key
from roman_assets.products.records import Incident, KindSummary, NewProduct, Outcome, ProductRecord
from roman_assets.storage.base import Checkpoint, no_checkpoint
from roman_assets.storage.database import Database
from roman_assets.survey.sky import distances_deg

#: Values of one IN (...): below the limits of both databases.
CHUNK = 400
#: Rows that are fetched at once where all are looked at.
_PAGE = 10_000


class Index:
    """Queries and the one change: making a product visible."""

    def __init__(self, url: str) -> None:
        self.database = Database(url, TABLES)

    def find(self, kind: str, partition: str, part: str, identity: str) -> ProductRecord | None:
        """The product of this identity, visible or not, unless retention removed it."""
        query = sa.select(products).where(
            *slot_of(kind, partition, part), products.c.identity == identity, products.c.removed_at.is_(None)
        )
        rows = self._records(query)
        return rows[0] if rows else None

    def get(self, product_id: int) -> ProductRecord | None:
        """A product by its number."""
        rows = self._records(sa.select(products).where(products.c.id == product_id))
        return rows[0] if rows else None

    def records(self, product_ids: Sequence[int]) -> list[ProductRecord]:
        """Products by their numbers, at most CHUNK of them, in order."""
        return self._records(sa.select(products).where(products.c.id.in_(product_ids)).order_by(products.c.id))

    def current(
        self,
        kind: str | None = None,
        partition: str | None = None,
        part: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> list[ProductRecord]:
        """Visible products, by kind, partition and part; at most `limit` of them.

        `attributes` select by day, season, region, field, detector, optical_element, flip (indexed columns)
        or any other attribute the product was given. A list or tuple means any of its values.
        """
        query, rest = visible(sa.select(products), kind, partition, part, attributes)
        found = self._records(query.order_by(products.c.kind, products.c.partition, products.c.part).limit(limit))
        return [record for record in found if all(record.attributes.get(n) in v for n, v in rest.items())]

    def count(self, kind: str | None = None, attributes: Mapping[str, Any] | None = None) -> int:
        """How many visible products there are of a kind with these promoted attributes."""
        query, _ = visible(sa.select(sa.func.count()), kind, None, None, attributes)
        return int(self.database.read(lambda connection: connection.execute(query).scalar_one()))

    def summary(self, attributes: Mapping[str, Any] | None = None) -> list[KindSummary]:
        """Visible products by kind: number, rows, bytes, and caveats by code."""
        totals, _ = visible(
            sa.select(products.c.kind, sa.func.count(), sa.func.sum(products.c.rows), sa.func.sum(products.c.size)),
            None,
            None,
            None,
            attributes,
        )

        def query(connection: Connection) -> list[KindSummary]:
            codes: dict[str, dict[str, int]] = {}
            for kind, code, number in connection.execute(caveats_by_code(attributes)):
                codes.setdefault(kind, {})[code] = int(number)
            rows = connection.execute(totals.group_by(products.c.kind).order_by(products.c.kind)).all()
            return [KindSummary(k, int(n), int(r or 0), int(b), codes.get(k, {})) for k, n, r, b in rows]

        return self.database.read(query)

    def count_caveats(self) -> dict[tuple[str, str], int]:
        """Caveats of visible products by (kind, code)."""
        rows = self.database.read(lambda connection: connection.execute(caveats_by_code(None)).all())
        return {(str(kind), str(code)): int(number) for kind, code, number in rows}

    def all_records(self) -> list[ProductRecord]:
        """Every product there has been, superseded ones too, in order of their numbers: for audits, not for stages."""
        return self._records(sa.select(products).order_by(products.c.id))

    def history(self, kind: str, partition: str, part: str = "") -> list[ProductRecord]:
        """Every product there has been, oldest first."""
        query = sa.select(products).where(*slot_of(kind, partition, part)).order_by(products.c.sequence)
        return self._records(query)

    def removed(self, kind: str, partition: str) -> list[ProductRecord]:
        """Products that nothing superseded and whose bytes are gone, oldest first."""
        query = sa.select(products).where(
            products.c.kind == kind,
            products.c.partition == partition,
            products.c.removed_at.is_not(None),
            products.c.superseded_by.is_(None),
        )
        return self._records(query.order_by(products.c.id))

    def near(self, ra: float, dec: float, radius_deg: float, kind: str | None = None) -> list[ProductRecord]:
        """Visible products whose sky position lies within a radius, nearest first."""
        query = sa.select(products.c.id, products.c.ra, products.c.dec).where(
            products.c.current.is_(True),
            products.c.dec.between(dec - radius_deg, dec + radius_deg),
            right_ascensions(ra, dec, radius_deg),
        )
        if kind is not None:
            query = query.where(products.c.kind == kind)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        if not rows:
            return []
        places = np.array([(row[1], row[2]) for row in rows], dtype=np.float64)
        distance = distances_deg(places[:, 0], places[:, 1], (ra, dec))
        close = {int(row[0]): float(d) for row, d in zip(rows, distance, strict=True) if d <= radius_deg}
        found: list[ProductRecord] = []
        ids = sorted(close)
        for start in range(0, len(ids), CHUNK):
            found += self.records(ids[start : start + CHUNK])
        return sorted(found, key=lambda record: (close[record.id], record.id))

    def using(self, sha256: str) -> list[ProductRecord]:
        """Visible products made from an input of this content hash."""
        query = sa.select(products).where(
            products.c.current.is_(True), sa.cast(products.c.inputs, sa.Text).contains(sha256)
        )
        return [record for record in self._records(query) if sha256 in record.inputs]

    def superseded(self, before: datetime) -> list[ProductRecord]:
        """Products superseded before a time and not yet removed."""
        query = sa.select(products).where(
            products.c.current.is_(False), products.c.removed_at.is_(None), products.c.superseded_at < before
        )
        return self._records(query.order_by(products.c.id))

    def totals(self, up_to: int) -> dict[str, tuple[int, int]]:
        """By kind, number and bytes of the products ever made, superseded ones too, numbered up to `up_to`."""
        query = (
            sa.select(products.c.kind, sa.func.count(), sa.func.sum(products.c.size))
            .where(products.c.id <= up_to)
            .group_by(products.c.kind)
        )
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return {kind: (int(count), int(size)) for kind, count, size in rows}

    def state(self, kind: str, **keys: str) -> tuple[int, int, datetime | None]:
        """Number, highest number and newest time of the visible products of a kind with these promoted attributes."""
        columns = (sa.func.count(), sa.func.max(products.c.id), sa.func.max(products.c.created_at))
        query = sa.select(*columns).where(products.c.kind == kind, products.c.current.is_(True))
        for name, value in keys.items():
            query = query.where(products.c[name] == value)
        count, newest, when = self.database.read(lambda connection: connection.execute(query).one())
        return int(count), int(newest or 0), None if when is None else utc(when)

    def made_after(self, product_id: int) -> list[tuple[int, str, int]]:
        """Number, kind and bytes of the products with a number above `product_id`."""
        query = sa.select(products.c.id, products.c.kind, products.c.size).where(products.c.id > product_id)
        rows = self.database.read(lambda connection: connection.execute(query.order_by(products.c.id)).all())
        return [(int(row[0]), str(row[1]), int(row[2])) for row in rows]

    def newest(self) -> int:
        """The highest number of a product; 0 if there is none."""
        query = sa.select(sa.func.max(products.c.id))
        return int(self.database.read(lambda connection: connection.execute(query).scalar()) or 0)

    def count_incidents(self) -> int:
        """How often one identity had two contents."""
        query = sa.select(sa.func.count()).select_from(incidents)
        return int(self.database.read(lambda connection: connection.execute(query).scalar_one()))

    def unnamed(self, keys: Collection[str]) -> set[str]:
        """Those of some keys in the store that belong to no product: as bytes, archive record or row file.

        One pass over the rows, which are not held: there may be millions.
        """
        names = (products.c.key, products.c.archive_key, products.c.part, products.c.identity)
        query = sa.select(*names).where(products.c.removed_at.is_(None)).execution_options(yield_per=_PAGE)

        def look(connection: Connection) -> set[str]:
            left = set(keys)
            for key, archive_key, part, identity in connection.execute(query):
                left.difference_update((key, archive_key, row_key(key, part, identity)))
            return left

        return self.database.read(look)

    def compare_row_files(self, found: Collection[str]) -> tuple[set[str], list[int]]:
        """Those of the row files found that no product has, and the numbers of the products that have none of them.

        One pass, as in `unnamed`.
        """
        names = (products.c.id, products.c.key, products.c.part, products.c.identity)
        query = sa.select(*names).where(products.c.removed_at.is_(None)).execution_options(yield_per=_PAGE)

        def look(connection: Connection) -> tuple[set[str], list[int]]:
            left, lacking = set(found), []
            for product_id, key, part, identity in connection.execute(query):
                name = row_key(key, part, identity)
                if name in left:
                    left.remove(name)
                else:
                    lacking.append(int(product_id))
            return left, sorted(lacking)

        return self.database.read(look)

    def incidents(self) -> list[Incident]:
        """Every case of one identity with two contents, oldest first."""
        query = sa.select(incidents).order_by(incidents.c.id)
        rows = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return [
            Incident(
                **{k: v for k, v in row.items() if k not in ("id", "created_at")}, created_at=utc(row["created_at"])
            )
            for row in rows
        ]

    def commit(self, new: NewProduct, checkpoint: Checkpoint = no_checkpoint) -> ProductRecord:
        """Makes a stored product visible in one transaction; see ProductRecord.outcome for what happened.

        A product of this identity that was superseded becomes the visible one again. One with other bytes
        stays as it is, and the difference is recorded as an incident.
        """
        outcome: list[Outcome] = []

        def change(connection: Connection) -> int:
            outcome[:] = []
            lock_slot(connection, new)
            slot = slot_of(new.kind, new.partition, new.part)
            same = connection.execute(sa.select(products).where(*slot, products.c.identity == new.identity))
            found = same.mappings().first()
            if found is not None and found["removed_at"] is None:
                outcome.append("same" if found["sha256"] == new.sha256 else "conflict")
                if outcome[0] == "conflict":
                    record_incident(connection, new, found["sha256"])
                elif new.archive_key is not None and found["archive_key"] is None:
                    own = sa.update(products).where(products.c.id == found["id"])
                    connection.execute(own.values(archive_key=new.archive_key))
                if not found["current"]:
                    make_current(connection, slot, found["id"], new.created_at)
                checkpoint("index_changed")
                return int(found["id"])
            outcome.append("new")
            highest = connection.execute(sa.select(sa.func.max(products.c.sequence)).where(*slot)).scalar()
            product_id = insert(connection, new, (highest or 0) + 1, None if found is None else found["id"])
            make_current(connection, slot, product_id, new.created_at)
            checkpoint("index_changed")
            return product_id

        product_id = self.database.write(change)
        checkpoint("index_committed")
        record = self.get(product_id)
        assert record is not None
        return _with_outcome(record, outcome[0])

    def judge(self, new: NewProduct) -> Verdict:
        """What `adopt` would come to."""
        return self.database.read(lambda connection: judge(connection, new)[0])

    def adopt(self, new: NewProduct) -> Verdict:
        """Gives a stored product that the index has lost its row, in one transaction; done again, it changes nothing.

        Its sequence is that of its time among those of its kind, partition and part; it becomes visible if it is the
        newest of them. An index that has other bytes under this identity ("conflict"), or knows that the product was
        removed since, stays as it is.

        Raises
        ------
        DatabaseUnavailable
            The index cannot be written now: nothing was changed.
        """
        return self.database.write(lambda connection: adopt(connection, new))

    def revive(self, product_id: int) -> ProductRecord:
        """Makes a superseded product the visible one again."""

        def change(connection: Connection) -> None:
            row = connection.execute(sa.select(products).where(products.c.id == product_id)).mappings().one()
            if not row["current"]:
                slot = slot_of(row["kind"], row["partition"], row["part"])
                make_current(connection, slot, product_id, datetime.now(UTC))

        self.database.write(change)
        record = self.get(product_id)
        assert record is not None
        return record

    def withdraw(self, product_ids: Iterable[int]) -> None:
        """Makes products invisible that nothing supersedes: their partition or exposure is no longer there."""
        ids, now = list(product_ids), datetime.now(UTC)

        def change(connection: Connection) -> None:
            for start in range(0, len(ids), CHUNK):
                chosen = products.c.id.in_(ids[start : start + CHUNK])
                query = sa.update(products).where(chosen, products.c.current.is_(True))
                connection.execute(query.values(current=False, superseded_by=None, superseded_at=now))

        if ids:
            self.database.write(change)

    def mark_damaged(self, product_id: int) -> None:
        """Makes a product unknown whose bytes are lost or wrong: it is made again as if it had never been."""
        change = sa.update(products).where(products.c.id == product_id)
        values = {"current": False, "removed_at": datetime.now(UTC)}
        self.database.write(lambda connection: connection.execute(change.values(**values)))

    def partitions(self) -> list[str]:
        """Partitions with visible products, in order."""
        query = sa.select(products.c.partition).where(products.c.current.is_(True)).distinct()
        rows = self.database.read(lambda connection: connection.execute(query).scalars().all())
        return sorted(str(partition) for partition in rows)

    def mark_removed(self, product_ids: Iterable[int], when: datetime) -> None:
        """Notes that the bytes of superseded products are gone; their rows stay."""
        ids = list(product_ids)

        def change(connection: Connection) -> None:
            for start in range(0, len(ids), CHUNK):
                chosen = products.c.id.in_(ids[start : start + CHUNK])
                query = sa.update(products).where(chosen, products.c.current.is_(False))
                connection.execute(query.values(removed_at=when))

        if ids:
            self.database.write(change)

    def _records(self, query: sa.Select[Any]) -> list[ProductRecord]:
        rows = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return [_record(row) for row in rows]


def _record(row: Any) -> ProductRecord:
    skipped = {*PROMOTED, "superseded_by", "superseded_at", "removed_at", "inputs", "caveats", "created_at"}
    return ProductRecord(
        **{name: value for name, value in row.items() if name not in skipped},
        inputs=tuple(row["inputs"]),
        caveats=tuple(Caveat.read(caveat) for caveat in row["caveats"]),
        created_at=utc(row["created_at"]),
        removed=row["removed_at"] is not None,
    )


def _with_outcome(record: ProductRecord, outcome: Outcome) -> ProductRecord:
    from dataclasses import replace

    return replace(record, outcome=outcome)
