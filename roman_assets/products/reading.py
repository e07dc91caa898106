"""Reading products: found in the index, verified when their bytes are read, noted where they are damaged."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from typing import Any, Literal, cast

import polars as pl

from roman_assets.errors import Damaged, InputError
from roman_assets.products.index import Index
from roman_assets.products.records import Incident, ProductRecord
from roman_assets.storage.base import Absent, Unavailable
from roman_assets.storage.blobs import open_blobs
from roman_assets.storage.database import DatabaseUnavailable
from roman_assets.storage.folder import FolderBlobs

Format = Literal["parquet", "asdf", "json"]
INDEX_FILE = "index.sqlite"


class ProductReader:
    """The products under one root, to be read.

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

    def verify(self, record: ProductRecord, *, mark: bool = True) -> None:
        """Damaged if the bytes are not those that were indexed; the product is then made again when asked for.

        Without `mark` the index is not told: nothing changes.
        """
        self._bytes(record, mark=mark)

    def _bytes(self, record: ProductRecord, *, mark: bool = True) -> bytes:
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
        if mark:
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
