"""Row files: written with every product, kept and deleted with it, and never taken for another's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from roman_assets.errors import Damaged
from roman_assets.products import IdentityConflictWarning
from roman_assets.products.adoption import Adoption, complete
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.keys import ROW_SUFFIX, row_key
from roman_assets.products.retention import collect
from roman_assets.products.rows import read_row, row_of, write_row
from roman_assets.storage.base import Unavailable
from tests.products.indexes import DAY, backup, forget, keys, note, put, restore, state
from tests.products.product_frames import identity, part_frame


def test_the_row_file_is_the_row(products):
    record = put(products, "1", part="e/1", caveats=(Caveat(Code.FIT, "star 7", "χ² of 9"),))
    key = row_key(record.key, record.part, record.identity)
    new = read_row(products.store, key)
    assert new == row_of(record)
    assert [(c.code, c.subject, c.text) for c in new.caveats] == [("fit", "star 7", "χ² of 9")]
    assert new.created_at == record.created_at
    assert key in keys(products)


def test_made_again_after_a_crash_or_found_the_row_file_says_what_the_index_says(products):
    record = put(products, "1")
    key = row_key(record.key, record.part, record.identity)
    products.store.delete(key)
    assert put(products, "1").outcome == "same"
    assert read_row(products.store, key) == row_of(record)
    with pytest.warns(IdentityConflictWarning):
        products.put_table("psf_photometry_part", DAY, part_frame(seed=9), identity(code_version="1"))
    assert [k for k in keys(products) if k.endswith(ROW_SUFFIX)] == [key], "other bytes are not kept"
    collect(products, dry_run=False, older_than_hours=0)
    products.index.mark_damaged(record.id)
    again = put(products, "1")
    assert again.created_at > record.created_at
    assert read_row(products.store, key) == row_of(again)


def test_retention_leaves_what_would_be_adopted_and_tells(products):
    old, new = put(products, "1"), put(products, "2")
    shared = note(products, "1", {"x": 1})
    superseding = note(products, "2", {"x": 1})
    plain = note(products, "3", {"x": 3})
    before = keys(products)
    forget(products, new, shared)
    for older_than_hours in (0, 24):
        gone = collect(products, dry_run=False, older_than_hours=older_than_hours, superseded_after_days=0)
        assert sorted(gone.adoptable) == sorted(row_key(r.key, r.part, r.identity) for r in (new, shared))
        assert gone.orphans == ()
    # The object of the superseded product is that of one to adopt.
    assert set(before) - set(keys(products)) == {row_key(superseding.key, "", superseding.identity)}
    assert len(complete(products).adopted) == 2
    assert [r.code_version for r in products.current("psf_photometry_part")] == ["2"]
    assert products.current("note") == [plain]
    assert collect(products, older_than_hours=0).adoptable == ()
    products.verify(old)


def test_a_row_file_goes_with_its_product_and_does_not_come_back(products, monkeypatch):
    old, new = put(products, "1"), put(products, "2")
    deleted = []

    def killed(key):
        deleted.append(key)
        raise KeyboardInterrupt

    monkeypatch.setattr(products.store, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        collect(products, dry_run=False, superseded_after_days=0)
    assert deleted == [row_key(old.key, old.part, old.identity)]
    monkeypatch.undo()
    assert complete(products) == Adoption(), "what retention has given up is not adopted"
    assert len(collect(products, dry_run=False, older_than_hours=0).orphans) == 3
    assert keys(products) == sorted([new.key, new.archive_key, row_key(new.key, new.part, new.identity)])
    products.verify(new)
    # Made again after it was removed, and that lost: then it is adopted.
    saved = backup(products)
    again = put(products, "1")
    restore(products, saved)
    assert len(complete(products).adopted) == 1
    assert row_of(products.current()[0]) == row_of(again)
    assert products.current()[0].sequence == again.sequence == 3


def test_a_row_file_without_anything_else_is_an_orphan(products):
    new = put(products, "1")
    forget(products, new)
    products.store.delete(new.key)
    assert len(collect(products, dry_run=False, older_than_hours=0).orphans) == 2
    assert keys(products) == []


def test_products_from_before_get_their_row_files(place):
    records = [note(place, str(k), {"x": k}, part=str(k % 2)) for k in range(5)]
    lost = note(place, "9", {"x": 9}, part="lost")
    made = [row_key(r.key, r.part, r.identity) for r in (*records, lost)]
    content = {key: place.store.read(key) for key in made}
    for key in made:
        place.store.delete(key)
    place.store.delete(lost.key)
    before = state(place)
    told = complete(place, dry_run=True)
    assert (told.row_files, told.lacking) == (0, 6)
    first = complete(place, most_row_files=2)
    assert (first.row_files, first.lacking) == (2, 4)
    second = complete(place)
    assert (second.row_files, second.lacking, second.problems) == (3, 0, [])
    assert complete(place).row_files == 0
    assert {key: place.store.read(key) for key in made[:-1]} == {key: content[key] for key in made[:-1]}
    assert place.store.size(made[-1]) is None, "no row of bytes that are not there"
    assert state(place) == before


def test_parts_whose_names_look_alike_have_each_their_row(products):
    one, other = note(products, "1", {}, part="a/b"), note(products, "1", {}, part="a_b")
    assert one.key == other.key
    before = state(products)
    restore(products, [(t, []) for t, _ in backup(products)])
    assert len(complete(products).adopted) == 2
    assert state(products) == before


def test_a_row_file_that_does_not_come_back_as_written_is_no_success(products, monkeypatch):
    record = put(products, "1")
    monkeypatch.setattr(
        products.store, "write", lambda key, data: Path(products.store.root / key).write_bytes(data[:50])
    )
    with pytest.raises(Damaged, match="no row"):
        write_row(products.store, row_of(record))
    monkeypatch.setattr(products.store, "write", lambda key, data: Path(products.store.root / key).unlink())
    with pytest.raises(Unavailable, match="just written"):
        write_row(products.store, row_of(record))


def test_row_files_cannot_lead_elsewhere(products):
    """A row file with a right checksum that names another object is not followed."""
    record = put(products, "1")
    forget(products, record)
    path = products.store.root / row_key(record.key, record.part, record.identity)
    row = json.loads(path.read_text())["row"]
    for change in ({"key": "../outside"}, {"kind": "other"}, {"part": "other"}, {"created_at": 3}, {"caveats": None}):
        other = row | change
        text = json.dumps(other, sort_keys=True, separators=(",", ":"))
        path.write_text(json.dumps({"row": other, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
        assert len(complete(products).problems) == 1
    assert products.current() == []
