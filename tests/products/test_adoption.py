"""An index restored from an old backup is completed from the store, where every product has its row beside its bytes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from roman_assets.products import Products
from roman_assets.products.adoption import Adoption, complete
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.index_tables import products as table
from roman_assets.products.keys import row_key
from roman_assets.products.retention import collect, orphans
from roman_assets.products.rows import row_of, write_row
from roman_assets.storage.base import Unavailable
from tests.products.indexes import DAY, backup, forget, keys, note, put, restore, state
from tests.products.product_frames import identity


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
