"""An index restored from an old backup is completed from the store, where every product has its row beside its bytes."""

from __future__ import annotations

import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from roman_assets.errors import Damaged
from roman_assets.products import IdentityConflictWarning, Products
from roman_assets.products.adoption import Adoption, complete
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.index_tables import caveats, incidents
from roman_assets.products.index_tables import products as table
from roman_assets.products.keys import ROW_SUFFIX, row_key
from roman_assets.products.retention import collect, orphans
from roman_assets.products.rows import read_row, row_of, write_row
from roman_assets.storage.base import Unavailable
from roman_assets.systems.msos.archive import ArchiveFacts, archive_metadata
from tests.products.product_frames import identity, part_frame

DAY = "day=2027-03-01/detector=WFI01"
FACTS = ArchiveFacts(season="s01", processing_id="r01", s_region="POLYGON ICRS 268 -29 268.1 -29 268.1 -29.1")


@pytest.fixture(params=["folder-sqlite", "folder-postgresql", "s3-sqlite", "s3-postgresql"])
def place(request, tmp_path):
    """Products in each kind of store, with each kind of index."""
    store, index = request.param.split("-")
    root = f"s3://{request.getfixturevalue('bucket')}/p" if store == "s3" else str(tmp_path / "products")
    url = request.getfixturevalue("postgres_url") if index == "postgresql" else f"sqlite:///{tmp_path}/index.sqlite"
    made = Products(root, url)
    yield made
    made.index.database.dispose()


def put(products, version, *, part="", caveats=()):
    return products.put_table(
        "psf_photometry_part",
        DAY,
        part_frame(seed=int(version)),
        identity(code_version=version),
        part=part,
        attributes={"field": "f01", "optical_element": "F146", "sky": 2.5, "left_out": ["a", "b"]},
        caveats=caveats,
        sky=(268.0, -29.2),
        s_region=FACTS.s_region,
        archive=archive_metadata("event", FACTS),
    )


def note(products, version, document, *, part=""):
    return products.put_json("note", "region=a", document, identity(code_version=version), part=part)


def backup(products):
    """All rows of the index."""
    with products.index.database.engine.connect() as connection:
        return [
            (t, [dict(r) for r in connection.execute(sa.select(t)).mappings()]) for t in (table, caveats, incidents)
        ]


def restore(products, rows):
    with products.index.database.engine.begin() as connection:
        for one in (caveats, incidents, table):
            connection.execute(sa.delete(one))
        for one, held in rows:
            if held:
                connection.execute(sa.insert(one), held)
        if connection.dialect.name == "postgresql":
            highest = max((row["id"] for row in rows[0][1]), default=1)
            connection.execute(sa.text("SELECT setval('products_id_seq', :n)"), {"n": highest})


def state(products):
    """Every row without the numbers that the database gave it, and the caveats that are counted."""
    rows = backup(products)[0][1]
    names = {row["id"]: (row["part"], row["identity"]) for row in rows}
    found = {}
    for row in rows:
        row = {**row, "superseded_by": names.get(row["superseded_by"])}
        found[row["kind"], row["partition"], row["part"], row.pop("identity")] = {**row, "id": None}
    return found, products.index.count_caveats()


def forget(products, *records):
    """Takes products out of the index, as if it had been restored from before them; what they superseded is visible."""
    visible = {record.id: record.current for record in products.index.all_records()}
    with products.index.database.engine.begin() as connection:
        for record in records:
            connection.execute(sa.delete(caveats).where(caveats.c.product_id == record.id))
            connection.execute(sa.delete(table).where(table.c.id == record.id))
            if visible.get(record.id):
                again = {"current": True, "superseded_by": None, "superseded_at": None}
                connection.execute(sa.update(table).where(table.c.superseded_by == record.id).values(**again))


def keys(products):
    return sorted(item.key for item in products.store.list() if "index.sqlite" not in item.key)


def test_a_restored_index_is_completed(place):
    put(place, "1", part="a")
    put(place, "2", part="b", caveats=(Caveat(Code.GONE, "e1", "is away"),))
    note(place, "1", {"x": 1})
    saved = backup(place)
    put(place, "3", part="c", caveats=(Caveat(Code.GONE, "e2", "is away"), "unsolved"))
    put(place, "3", part="a")
    put(place, "4", part="a", caveats=("last",))
    shared = note(place, "2", {"x": 1})
    assert shared.key == place.history("note", "region=a")[0].key
    before, stored = state(place), keys(place)

    restore(place, saved)
    assert state(place) != before
    told = complete(place, dry_run=True)
    assert (len(told.adopted), told.problems, told.lacking) == (4, [], 0)
    assert state(place) != before
    found = complete(place)
    assert found == told
    assert state(place) == before
    assert complete(place) == Adoption()
    assert (state(place), keys(place)) == (before, stored)
    for record in place.current():
        place.verify(record)
    assert place.read_archive(place.current(part="c")[0])["season"] == "s01"
    assert place.lookup("psf_photometry_part", DAY, part="a", identity=identity(code_version="4")) is not None


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


def test_what_was_written_and_never_committed_is_adopted(products):
    class Stopped(Exception):
        pass

    def stop(step):
        if step == "row_written":
            raise Stopped

    old = put(products, "1")
    products.checkpoint = stop
    with pytest.raises(Stopped):
        put(products, "2")
    assert products.current() == [old]
    assert orphans(products, 0) == []
    assert len(complete(products).adopted) == 1
    assert products.current()[0].code_version == "2"


def test_an_older_one_takes_its_place_in_time_and_stays_superseded(products):
    records = [put(products, str(k)) for k in range(4)]
    before = state(products)
    forget(products, records[1], records[2])
    collect(products, dry_run=False, older_than_hours=0)
    assert len(complete(products).adopted) == 2
    history = products.history("psf_photometry_part", DAY)
    assert [r.code_version for r in history] == ["0", "1", "2", "3"]
    assert [r.sequence for r in history] == [1, 2, 3, 4]
    assert products.current() == [records[3]]
    assert state(products)[0].keys() == before[0].keys()
    gone = collect(products, dry_run=True, superseded_after_days=0).superseded
    assert {r.code_version for r in gone} >= {"1", "2"}, "retention takes it in its time"

    # Processing went on before anybody reconciled: later rows make room.
    forget(products, history[1])
    with products.index.database.engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.sequence > 2).values(sequence=table.c.sequence - 1))
    complete(products)
    assert [r.sequence for r in products.history("psf_photometry_part", DAY)] == [1, 2, 3, 4]
    assert products.current() != []


def test_nothing_older_becomes_visible_where_the_newest_was_withdrawn(products):
    old, middle, new = put(products, "1"), put(products, "2"), put(products, "3")
    products.index.withdraw([new.id])
    forget(products, middle)
    complete(products)
    assert products.current() == []
    assert [r.id for r in products.history("psf_photometry_part", DAY)][::2] == [old.id, new.id]


@pytest.mark.parametrize(
    "damage", ["row", "row of another", "text", "bytes", "cut", "no bytes", "no archive", "archive"]
)
def test_what_is_damaged_is_told_and_never_adopted(products, damage):
    old, new = put(products, "1"), put(products, "2")
    forget(products, new)
    row = products.store.root / row_key(new.key, new.part, new.identity)
    path, archive = products.store.root / new.key, products.store.root / new.archive_key
    if damage == "row":
        row.write_text(row.read_text().replace('"ra": 268.0', '"ra": 269.0'))
    elif damage == "row of another":
        row.write_bytes((products.store.root / row_key(old.key, old.part, old.identity)).read_bytes())
    elif damage == "text":
        row.write_bytes(b"\x00\xff[[[[")
    elif damage == "bytes":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "no bytes":
        path.unlink()
    elif damage == "no archive":
        archive.unlink()
    else:
        archive.write_bytes(b"{}")
    for dry_run in (True, False):
        found = complete(products, dry_run=dry_run)
        assert found.adopted == []
        assert len(found.problems) == 1
        assert str(products.store.root) in found.problems[0]
    assert products.current() == [old] or products.current()[0].id == old.id
    again = put(products, "2")
    assert again.outcome == "new"
    assert complete(products) == Adoption()
    products.verify(again)


def test_other_bytes_of_an_identity_that_is_indexed_are_told(products):
    record = note(products, "1", {"x": 1})
    forget(products, record)
    first = note(products, "1", {"x": 2})
    found = complete(products)
    assert found.adopted == []
    assert "same identity" in found.problems[0]
    assert products.current() == [first]
    collect(products, dry_run=False, older_than_hours=0)
    assert complete(products) == Adoption()


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


def test_two_adoptions_at_once_end_as_one(place):
    note(place, "0", {"x": 0})
    saved = backup(place)
    for version in range(1, 6):
        for part in ("", "a", "b"):
            note(place, str(version), {"x": version}, part=part)
    before = state(place)
    restore(place, saved)
    errors, adopted = [], []

    def work():
        try:
            own = Products(place.root, place.index.database.url.render_as_string(hide_password=False))
            adopted.extend(complete(own).adopted)
            own.index.database.dispose()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(adopted) == 15, "each by one of them"
    assert state(place) == before


@pytest.mark.parametrize("kill_at", [0, 1, 3, 5])
def test_killed_in_the_middle_and_run_again(products, kill_at):
    note(products, "0", {"x": 0})
    saved = backup(products)
    for version in range(1, 4):
        for part in ("", "a"):
            note(products, str(version), {"x": version}, part=part)
    before = state(products)
    restore(products, saved)

    def kill(number, _total, _key):
        if number == kill_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete(products, progress=kill)
    assert len(complete(products).adopted) == 6 - kill_at
    assert state(products) == before


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


def test_an_index_that_was_lost_altogether_comes_back(place):
    for version in range(3):
        put(place, str(version), part=str(version % 2), caveats=("one",))
    before = state(place)
    restore(place, [(t, []) for t, _ in backup(place)])
    assert len(complete(place).adopted) == 3
    assert state(place) == before


def test_as_many_questions_for_many_products_as_for_few(products, monkeypatch):
    asked = []
    for name in ("read", "write"):
        real = getattr(products.index.database, name)
        monkeypatch.setattr(products.index.database, name, lambda work, real=real: asked.append("index") or real(work))
    for name in ("read", "size", "list"):
        real = getattr(products.store, name)
        monkeypatch.setattr(products.store, name, lambda *a, real=real, name=name: asked.append(name) or real(*a))
    counted = []
    for more in (3, 60):
        for k in range(more):
            note(products, "1", {"x": k}, part=f"{more}-{k}")
        asked.clear()
        complete(products)
        collect(products, older_than_hours=0, superseded_after_days=0)
        counted.append(sorted(asked))
    assert counted[0] == counted[1] == sorted(["list", "index", "list", "index", "index"])


def test_a_place_that_is_away_is_no_damage(products, monkeypatch):
    forget(products, put(products, "1"))

    def away(_key, limit=-1):
        raise Unavailable("away")

    monkeypatch.setattr(products.store, "read", away)
    with pytest.raises(Unavailable):
        complete(products)
    with pytest.raises(Unavailable):
        collect(products, dry_run=False, older_than_hours=0)


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


def test_equal_times_have_an_order(products):
    when = datetime.now(UTC) - timedelta(days=1)
    records = [note(products, str(k), {"x": k}) for k in range(3)]
    for record in records:
        row = row_of(record)
        write_row(products.store, type(row)(**{**row.__dict__, "created_at": when}))
    forget(products, *records)
    complete(products)
    history = products.history("note", "region=a")
    assert [r.identity for r in history] == sorted(r.identity for r in records)
    assert [r.current for r in history] == [False, False, True]
