"""Products: made once, stored by content, visible by one commit, never changed.

The order that survives a crash at any step: bytes under a content-hashed key, verified; the archive record and the row
beside them; one index transaction. Before the last, readers see the older product; after it, the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from roman_assets.products.caveats import Caveat
from roman_assets.products.identity import Identity, canonical_json
from roman_assets.products.keys import archive_key, object_key
from roman_assets.products.reading import Format, ProductReader
from roman_assets.products.records import IdentityConflictWarning, NewProduct, ProductRecord
from roman_assets.products.rows import row_of, write_row
from roman_assets.products.schemas import TableSchema, conform, find_schema
from roman_assets.storage.base import Checkpoint, no_checkpoint


class Products(ProductReader):
    """The products under one root, to be made and read; see ProductReader."""

    def __init__(self, root: str, index_url: str | None = None) -> None:
        super().__init__(root, index_url)
        self.checkpoint: Checkpoint = no_checkpoint

    def lookup(self, kind: str, partition: str, *, part: str = "", identity: Identity) -> ProductRecord | None:
        """The product of this identity if it was made and its bytes are there: then nothing is to be done.

        One that was superseded since (a setting was changed and changed back) becomes the visible one again.
        """
        record = self.index.find(kind, partition, part, identity.digest)
        if record is None:
            return None
        if (size := self.store.size(record.key)) != record.size:
            if size is None:
                self._check_place()
            return None
        return record if record.current else self.index.revive(record.id)

    def put_table(
        self,
        kind: str,
        partition: str,
        frame: pl.DataFrame,
        identity: Identity,
        *,
        part: str = "",
        attributes: Mapping[str, Any] | None = None,
        caveats: Sequence[str] = (),
        sky: tuple[float, float] | None = None,
        s_region: str | None = None,
        archive: Mapping[str, Any] | None = None,
        schema: TableSchema | None = None,
    ) -> ProductRecord:
        """Stores a table as parquet.

        Parameters
        ----------
        kind
            Product kind; its columns come from `schema`, or from the schema of that kind.
        partition, part
            `day=2027-03-01/detector=WFI01`; the part's name within it, such as an exposure id.
        frame
            Table; put into the schema's column order, types and row order (InputError where it does not fit).
        attributes
            JSON facts to select by, also in the file's metadata.
        caveats
            What is missing or doubtful, in words. In the index only: they do not change the bytes.
        sky, s_region
            Position (ra, dec) in degrees and footprint.
        archive
            Archive metadata of `archive.archive_metadata`; the file's name and date are added here.

        Returns
        -------
        The visible record of this identity. If it had been made with other bytes, that first product stays, an incident
        is recorded and IdentityConflictWarning is issued.

        Raises
        ------
        InputError
            The table does not fit its schema.
        Unavailable, DatabaseUnavailable
            Bytes or row cannot be written now: nothing is visible.
        """
        from roman_assets.products.parquet import encode_table

        schema = schema if schema is not None else find_schema(kind)
        facts = dict(attributes or {})
        metadata = {**self._file_metadata(kind, partition, part, identity, facts), "title": schema.title}
        content = encode_table(conform(frame, schema), schema, metadata)
        return self._put(
            kind, partition, part, identity, content, "parquet", frame.height, facts, caveats, sky, s_region, archive
        )

    def put_asdf(
        self,
        kind: str,
        partition: str,
        tree: dict[str, Any],
        identity: Identity,
        *,
        part: str = "",
        attributes: Mapping[str, Any] | None = None,
        caveats: Sequence[str] = (),
        sky: tuple[float, float] | None = None,
        s_region: str | None = None,
        archive: Mapping[str, Any] | None = None,
    ) -> ProductRecord:
        """Stores a tree (images, cut-outs) as lz4-compressed ASDF, facts under the key `product`; see
        put_table.
        """
        from roman_assets.products.asdf_bytes import write_asdf

        facts = dict(attributes or {})
        metadata = self._file_metadata(kind, partition, part, identity, facts)
        sink = io.BytesIO()
        write_asdf(sink, {"product": metadata, **tree})
        content = sink.getvalue()
        return self._put(kind, partition, part, identity, content, "asdf", None, facts, caveats, sky, s_region, archive)

    def put_json(
        self,
        kind: str,
        partition: str,
        document: Any,
        identity: Identity,
        *,
        part: str = "",
        attributes: Mapping[str, Any] | None = None,
        caveats: Sequence[str] = (),
        sky: tuple[float, float] | None = None,
        s_region: str | None = None,
        archive: Mapping[str, Any] | None = None,
    ) -> ProductRecord:
        """Stores a JSON document, such as a manifest of parts; see put_table."""
        facts = dict(attributes or {})
        content = canonical_json(document).encode()
        return self._put(kind, partition, part, identity, content, "json", None, facts, caveats, sky, s_region, archive)

    @staticmethod
    def _file_metadata(
        kind: str, partition: str, part: str, identity: Identity, attributes: Mapping[str, Any]
    ) -> dict[str, str]:
        return {
            "kind": kind,
            "partition": partition,
            "part": part,
            "identity": identity.digest,
            "code_version": identity.code_version,
            "schema_version": identity.schema_version,
            "attributes": canonical_json(attributes),
        }

    def _put(
        self,
        kind: str,
        partition: str,
        part: str,
        identity: Identity,
        content: bytes,
        format_: Format,
        rows: int | None,
        attributes: dict[str, Any],
        caveats: Sequence[str],
        sky: tuple[float, float] | None,
        s_region: str | None,
        archive: Mapping[str, Any] | None,
    ) -> ProductRecord:
        self.checkpoint("encoded")
        sha256 = hashlib.sha256(content).hexdigest()
        new = NewProduct(
            kind=kind,
            partition=partition,
            part=part,
            identity=identity.digest,
            sha256=sha256,
            size=len(content),
            rows=rows,
            key=object_key(kind, partition, part, sha256, format_),
            format=format_,
            inputs=tuple(sorted(identity.inputs)),
            code_version=identity.code_version,
            schema_version=identity.schema_version,
            config=json.loads(canonical_json(identity.config)),
            created_at=datetime.now(UTC),
            caveats=tuple(Caveat.read(caveat) for caveat in caveats),
            attributes=json.loads(canonical_json(attributes)),
            ra=None if sky is None else float(sky[0]),
            dec=None if sky is None else float(sky[1]),
            s_region=s_region,
            archive_key=None,
        )
        record = self.index.commit(self._store(new, content, archive), self.checkpoint)
        if record.outcome == "conflict":
            warnings.warn(
                f"{kind} {partition} {part}: the same inputs, code and configuration gave other bytes "
                f"({sha256[:12]} after {record.sha256[:12]}); the first stays and the incident is recorded",
                IdentityConflictWarning,
                stacklevel=3,
            )
        return record

    def _store(self, new: NewProduct, content: bytes, archive: Mapping[str, Any] | None) -> NewProduct:
        """Writes bytes, archive record and row file of a product; returns it with the key of its archive record."""
        earlier = self.index.find(new.kind, new.partition, new.part, new.identity)
        known = None if earlier is None else earlier.archive_key
        if earlier is not None and earlier.sha256 != new.sha256:
            # With other bytes than before, the earlier product stays and these are not kept: see Index.commit.
            return replace(new, archive_key=known)
        self.store.put(new.key, content, new.sha256, checkpoint=self.checkpoint)
        self.checkpoint("object_written")
        if archive is not None and known is None:
            known = self._put_archive(new.key, archive, new.created_at)
        new = replace(new, archive_key=known)
        # What the index says of an earlier one stays, its time above all.
        write_row(self.store, new if earlier is None else row_of(earlier, known))
        self.checkpoint("row_written")
        return new

    def _put_archive(self, key: str, archive: Mapping[str, Any], now: datetime) -> str:
        """Validates the archive record and writes it beside its product; returns its key."""
        from roman_assets.products.archive import complete_record, validate_record

        record = complete_record(archive, filename=key.rsplit("/", 1)[-1], file_date=now)
        validate_record(record)
        content = json.dumps(record, indent=1, sort_keys=True).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        place = archive_key(key, sha256)
        self.store.put(place, content, sha256)
        self.checkpoint("archive_written")
        return place
