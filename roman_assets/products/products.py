"""Products: made once, stored by content, visible by one commit, never changed.

The order that survives a crash at any step: bytes under a content-hashed key, verified; the archive record
beside them; one index transaction. Before the last, readers see the older product; after it, the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

import polars as pl

from roman_assets.errors import Damaged, InputError
from roman_assets.products.caveats import Caveat
from roman_assets.products.identity import Identity, canonical_json
from roman_assets.products.index import Index
from roman_assets.products.records import IdentityConflictWarning, Incident, NewProduct, ProductRecord
from roman_assets.products.schemas import TableSchema, conform, find_schema
from roman_assets.storage.base import Absent, Checkpoint, Unavailable, check_key, no_checkpoint
from roman_assets.storage.blobs import open_blobs
from roman_assets.storage.database import DatabaseUnavailable
from roman_assets.storage.folder import FolderBlobs

Format = Literal["parquet", "asdf", "json"]
INDEX_FILE = "index.sqlite"


class Products:
    """The products under one root.

    Parameters
    ----------
    root
        A folder, or `s3://bucket/prefix`.
    index_url
        SQLAlchemy URL of the index; None keeps it in SQLite inside the root, which must then be a folder.
    """

    def __init__(self, root: str, index_url: str | None = None) -> None:
        self.root = str(root)
        self.store = open_blobs(self.root)
        if index_url is None:
            if not isinstance(self.store, FolderBlobs):
                raise InputError(
                    "products in S3 need an index of their own", field="index_url", remedy="give a PostgreSQL URL"
                )
            index_url = f"sqlite:///{self.store.root / INDEX_FILE}"
        self.index = Index(index_url)
        self.checkpoint: Checkpoint = no_checkpoint

    # -- making

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
        key = object_key(kind, partition, part, sha256, format_)
        now = datetime.now(UTC)
        earlier = self.index.find(kind, partition, part, identity.digest)
        archive_key = earlier.archive_key if earlier is not None else None
        # With other bytes than before, the earlier product stays and these are not kept: see Index.commit.
        if earlier is None or earlier.sha256 == sha256:
            self.store.put(key, content, sha256, checkpoint=self.checkpoint)
            self.checkpoint("object_written")
            if archive is not None and archive_key is None:
                archive_key = self._put_archive(key, archive, now)
        record = self.index.commit(
            NewProduct(
                kind=kind,
                partition=partition,
                part=part,
                identity=identity.digest,
                sha256=sha256,
                size=len(content),
                rows=rows,
                key=key,
                format=format_,
                inputs=tuple(sorted(identity.inputs)),
                code_version=identity.code_version,
                schema_version=identity.schema_version,
                config=json.loads(canonical_json(identity.config)),
                created_at=now,
                caveats=tuple(Caveat.read(caveat) for caveat in caveats),
                attributes=json.loads(canonical_json(attributes)),
                ra=None if sky is None else float(sky[0]),
                dec=None if sky is None else float(sky[1]),
                s_region=s_region,
                archive_key=archive_key,
            ),
            self.checkpoint,
        )
        if record.outcome == "conflict":
            warnings.warn(
                f"{kind} {partition} {part}: the same inputs, code and configuration gave other bytes "
                f"({sha256[:12]} after {record.sha256[:12]}); the first stays and the incident is recorded",
                IdentityConflictWarning,
                stacklevel=3,
            )
        return record

    def _put_archive(self, key: str, archive: Mapping[str, Any], now: datetime) -> str:
        """Validates the archive record and writes it beside its product; returns its key."""
        from roman_assets.products.archive import complete_record, validate_record

        record = complete_record(archive, filename=key.rsplit("/", 1)[-1], file_date=now)
        validate_record(record)
        content = json.dumps(record, indent=1, sort_keys=True).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        archive_key = f"{key}.{sha256[:8]}.archive.json"
        self.store.put(archive_key, content, sha256)
        self.checkpoint("archive_written")
        return archive_key

    # -- reading

    def current(
        self, kind: str | None = None, partition: str | None = None, part: str | None = None, **attributes: Any
    ) -> list[ProductRecord]:
        """Visible products, by kind, partition, part and attributes (day, season, detector, field.. or any
        other).
        """
        return self.index.current(kind, partition, part, attributes)

    def near(self, ra: float, dec: float, radius_deg: float, kind: str | None = None) -> list[ProductRecord]:
        """Visible products whose position lies within `radius_deg` of (ra, dec), degrees, nearest first."""
        return self.index.near(ra, dec, radius_deg, kind)

    def history(self, kind: str, partition: str, part: str = "") -> list[ProductRecord]:
        """Every product there has been of a kind, partition and part, oldest first."""
        return self.index.history(kind, partition, part)

    def incidents(self) -> list[Incident]:
        """Cases of the same identity with other bytes."""
        return self.index.incidents()

    def read_table(self, record: ProductRecord, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A table, or some of its columns: whole ones are verified by their sha256, parts by the checksums of pages.

        Damaged if the bytes are missing or are not those that were written.
        """
        if columns is None:
            self._expect(record, "parquet")
            return pl.read_parquet(io.BytesIO(self._bytes(record)))
        return self.read_rows(record, columns)

    def read_rows(
        self, record: ProductRecord, columns: Sequence[str] | None = None, where: tuple[str, Any] | None = None
    ) -> pl.DataFrame:
        """Some columns of a table, and with `where` (column, value) only its rows with that value: what is read of the
        file is verified by the checksums of its pages.

        Damaged if the bytes are missing, cut short, or those that were read are not as written.
        """
        from roman_assets.products.parquet import read_part

        self._expect(record, "parquet")
        local = self.store.local(record.key)
        if local is None:
            source: Any = io.BytesIO(self._bytes(record))
        else:
            self._check_size(record)
            source = local
        try:
            return read_part(source, columns, where)
        except Damaged as error:
            self._mark(record)
            raise Damaged(f"{self.store.location(record.key)}: {error}; materialize the product again") from error

    def scan(self, record: ProductRecord) -> pl.LazyFrame:
        """A table to be read by need and without checksums, for interactive use; Damaged if it is missing or cut short."""
        self._expect(record, "parquet")
        self._check_size(record)
        return pl.scan_parquet(
            self.store.location(record.key),
            storage_options=self.store.storage_options() or None,
            credential_provider=self.store.credential_provider(),
        )

    def read_asdf(self, record: ProductRecord) -> dict[str, Any]:
        """The tree of an ASDF product, its arrays in memory."""
        import asdf

        self._expect(record, "asdf")
        content = io.BytesIO(self._bytes(record))
        with asdf.open(content, lazy_load=False, memmap=False) as file:
            tree = dict(file.tree)
        for key in ("asdf_library", "history"):
            tree.pop(key, None)
        return tree

    def read_json(self, record: ProductRecord) -> Any:
        """A JSON product."""
        self._expect(record, "json")
        return json.loads(self._bytes(record))

    def read_metadata(self, record: ProductRecord) -> dict[str, Any]:
        """Facts in a table file's own metadata, its attributes decoded."""
        from roman_assets.products.parquet import file_metadata

        self._expect(record, "parquet")
        found: dict[str, Any] = dict(file_metadata(self._bytes(record)))
        found["attributes"] = json.loads(found.get("attributes", "{}"))
        return found

    def read_archive(self, record: ProductRecord) -> dict[str, Any] | None:
        """The archive metadata record beside a product, None if it has none."""
        if record.archive_key is None:
            return None
        return cast(dict[str, Any], json.loads(self.store.read(record.archive_key)))

    def verify(self, record: ProductRecord) -> None:
        """Damaged if the bytes are not those that were indexed; the product is then made again when asked for."""
        self._bytes(record)

    def _bytes(self, record: ProductRecord) -> bytes:
        """A product's bytes, verified; read once more before they are called damaged."""
        problem = ""
        for _ in range(2):
            try:
                content = self.store.read(record.key)
            except Absent:
                self._check_place()
                problem = "is missing"
                continue
            if len(content) != record.size:
                problem = f"has {len(content)} bytes instead of {record.size}"
                continue
            found = hashlib.sha256(content).hexdigest()
            if found == record.sha256:
                return content
            problem = f"has sha256 {found[:16]}.. instead of {record.sha256[:16]}.."
        self._mark(record)
        raise Damaged(f"{self.store.location(record.key)} {problem}; materialize the product again")

    def _check_size(self, record: ProductRecord) -> None:
        size = self.store.size(record.key)
        if size != record.size:
            if size is None:
                self._check_place()
            self._mark(record)
            has = "is missing" if size is None else f"has {size} bytes instead of {record.size}"
            raise Damaged(f"{self.store.location(record.key)} {has}; materialize the product again")

    def _check_place(self) -> None:
        """Unavailable where nothing at all is stored: a disk that is not mounted has lost no product."""
        if next(iter(self.store.list()), None) is None:
            raise Unavailable("there is nothing where the products are kept: is it mounted?", file=self.root)

    def _mark(self, record: ProductRecord) -> None:
        """Notes damage, where the index can be written."""
        try:
            self.index.mark_damaged(record.id)
        except DatabaseUnavailable:
            logging.getLogger(__name__).warning("damage of %s could not be noted in the index", record.key)

    @staticmethod
    def _expect(record: ProductRecord, format_: Format) -> None:
        if record.format != format_:
            raise InputError(
                f"{record.kind} {record.partition} is {record.format}, not {format_}",
                field="record",
                remedy=f"use read_{'table' if record.format == 'parquet' else record.format}",
            )


def object_key(kind: str, partition: str, part: str, sha256: str, format_: str) -> str:
    """`kind/partition/part-<32 hex of the content hash>.format`; InputError for names unfit for a path."""
    stem = part.replace("/", "_") if part else kind
    return check_key(f"{kind}/{partition}/{stem}-{sha256[:32]}.{format_}")
