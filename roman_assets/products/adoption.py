"""Completing an index from the store: an index restored from a backup lacks what was made since.

Every product has its row in a file beside its bytes. Those whose row the index lacks are adopted, in the order in which
they were made; products from before there were row files get theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from roman_assets.errors import Damaged
from roman_assets.products.index import CHUNK
from roman_assets.products.keys import ROW_SUFFIX
from roman_assets.products.products import Products
from roman_assets.products.records import NewProduct
from roman_assets.products.rows import read_row, row_of, write_row
from roman_assets.storage.base import Absent

#: Row files written at once for products that have none: some minutes' work in S3.
MOST_ROW_FILES = 10_000

Progress = Callable[[int, int, str], None]


@dataclass
class Adoption:
    """What was (or would be) adopted, and what cannot be.

    Attributes
    ----------
    adopted
        Kind, partition and part of the products that got a row.
    problems
        Row files and products that cannot be adopted, and why.
    row_files, lacking
        Row files written, and products that still have none.
    """

    adopted: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    row_files: int = 0
    lacking: int = 0


def complete(
    products: Products, *, dry_run: bool = False, most_row_files: int = MOST_ROW_FILES, progress: Progress | None = None
) -> Adoption:
    """Gives products that the index lacks their rows, and products without row files theirs.

    One listing of the store and one pass over the index, whatever their size; what is adopted is read. Killed in the
    middle, or done by two at once, it ends the same when it is done again.

    Parameters
    ----------
    dry_run
        Only say what would be done.
    most_row_files
        So many row files are written at most; the rest is left to the next time.

    Raises
    ------
    Unavailable, DatabaseUnavailable
        Store or index do not answer now: what has been adopted stays.
    """
    # The listing first: what is written and indexed in between is then known to the index.
    listed = {item.key for item in products.store.list() if item.key.endswith(ROW_SUFFIX)}
    strange, lacking = products.index.compare_row_files(listed)
    del listed
    found = Adoption()
    waiting = _in_order(products, strange, found)
    for number, (_, _, key) in enumerate(waiting):
        if progress:
            progress(number, len(waiting), key)
        _adopt(products, key, dry_run, found)
    if dry_run:
        found.lacking = len(lacking)
    else:
        _write_row_files(products, lacking, most_row_files, found)
    return found


def adoptable(products: Products, key: str) -> NewProduct | None:
    """The product of a row file that `complete` would adopt, as far as names and sizes tell; None if it would not.

    Raises
    ------
    Unavailable, DatabaseUnavailable
        Store or index do not answer now.
    """
    try:
        new = read_row(products.store, key)
    except (Damaged, Absent):
        return None
    whole = products.store.size(new.key) == new.size
    if not whole or (new.archive_key is not None and products.store.size(new.archive_key) is None):
        return None
    return new if products.index.judge(new) == "adopted" else None


def _in_order(products: Products, keys: set[str], found: Adoption) -> list[tuple[datetime, str, str]]:
    """Row files in the order in which their products were made; only their names are held, there may be many."""
    waiting = []
    for key in keys:
        try:
            new = read_row(products.store, key)
        except Damaged as error:
            found.problems.append(str(error))
        except Absent:  # retention took it meanwhile
            continue
        else:
            waiting.append((new.created_at, new.identity, key))
    found.problems.sort()
    return sorted(waiting)


def _adopt(products: Products, key: str, dry_run: bool, found: Adoption) -> None:
    try:
        new = read_row(products.store, key)
        verdict = products.index.judge(new)
        if verdict == "adopted":
            _check(products, new)
            if not dry_run:
                verdict = products.index.adopt(new)
    except (Damaged, Absent) as error:
        found.problems.append(f"{error}; it is made again when its partition is")
        return
    if verdict == "adopted":
        found.adopted.append(" ".join(text for text in (new.kind, new.partition, new.part) if text))
    elif verdict == "conflict":
        found.problems.append(f"{products.store.location(new.key)}: the index has other bytes under the same identity")
    # "same": another one adopted it meanwhile. "removed": retention was killed before it deleted this, and will.


def _check(products: Products, new: NewProduct) -> None:
    """Damaged if bytes or archive record are not those that were written.

    All of the bytes are read: what is adopted was made after the backup, so it is little; it is read this once; and what
    damaged the index may have damaged the store.
    """
    for key, sha256 in ((new.key, new.sha256), (new.archive_key, None)):
        if key is None:
            continue
        try:
            content = products.store.read(key)
        except Absent as error:
            raise Damaged(f"{products.store.location(key)} is missing") from error
        digest = hashlib.sha256(content).hexdigest()
        # The hash of an archive record is in its name.
        if digest != sha256 if sha256 is not None else f".{digest[:8]}." not in key:
            raise Damaged(f"{products.store.location(key)} is damaged: {len(content)} bytes, sha256 {digest[:16]}..")


def _write_row_files(products: Products, lacking: Sequence[int], most: int, found: Adoption) -> None:
    """Writes row files of products that have bytes and no such file; those without bytes are left to --verify."""
    done = 0
    for start in range(0, len(lacking), CHUNK):
        if found.row_files >= most:
            break
        for record in products.index.records(lacking[start : start + CHUNK]):
            if found.row_files >= most:
                break
            done += 1
            if record.removed or products.store.size(record.key) != record.size:
                continue
            try:
                write_row(products.store, row_of(record))
            except Damaged as error:
                found.problems.append(str(error))
            else:
                found.row_files += 1
    found.lacking = len(lacking) - done
