"""The registry on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import math
import multiprocessing
import threading
import time
import uuid
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from roman_assets.errors import InputError
from roman_assets.exposures.level2.header import ExposureHeader
from roman_assets.exposures.registry import Arrival, Delivery, Outcome, Registry
from roman_assets.exposures.tables import METADATA, TABLES
from roman_assets.storage.database import Database
from roman_assets.survey.calendar import SHIPPED, load_calendar

CALENDAR = load_calendar(SHIPPED)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/deep/registry.sqlite"
        return
    base = request.getfixturevalue("postgresql_url")
    schema = f"test_{uuid.uuid4().hex}"
    admin = create_engine(base)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield f"{base}{'&' if '?' in base else '?'}options=-csearch_path%3D{schema}"
    with admin.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()


@pytest.fixture
def registry(url):
    registry = Registry(url, CALENDAR)
    yield registry
    registry.close()


def header(visit: int = 1, detector: str = "WFI01", day: str = "2027-03-01", **changes) -> ExposureHeader:
    stem = f"r0000201001001001{visit:03d}_0001_{detector.lower()}_f146"
    start = dt.datetime.fromisoformat(f"{day}T02:00:00.123456+00:00") + dt.timedelta(minutes=visit)
    values = ExposureHeader(
        exposure_id=stem,
        filename=f"{stem}_cal.asdf",
        visit_id=stem[1:20],
        exposure=1,
        detector=detector,
        optical_element="F146",
        exposure_type="WFI_IMAGE",
        start_time=start,
        mid_mjd=61465.1 + visit / 1440,
        exptime_s=66.0,
        day=day,
        shape=(4088, 4080),
        ra_center=267.8,
        dec_center=-29.2,
        s_region="POLYGON ICRS 1 2 3 4 5 6",
        conversion_megajanskys=0.25,
        pixel_area_sr=2.8e-13,
        program=2,
        caveats=("photometry_not_positive",),
        schema="wfi_image-2.2.0",
    )
    return replace(values, **changes)


def arrival(visit: int = 1, sha256: str = "", **changes) -> Arrival:
    found = header(visit, **changes)
    return Arrival(found, f"/landing/{found.filename}", 1000, sha256 or f"{visit:064x}", version="v1")


def test_what_goes_in_comes_out(registry):
    one = arrival()
    assert registry.register([one]) == [Outcome.REGISTERED]
    (found,) = registry.exposures()
    for name in ExposureHeader.__dataclass_fields__:
        assert getattr(found, name) == getattr(one.header, name), name
    assert (found.uri, found.sha256, found.size) == (one.uri, one.sha256, 1000)
    assert (found.survey, found.season, found.field) == ("bulge", "s01", "f03")
    assert (found.inside_calendar, found.change) == (True, 1)
    assert registry.exposure(one.header.exposure_id) == found
    assert registry.exposure("nothing") is None


def test_missing_photometry_stays_missing(registry):
    registry.register([arrival(conversion_megajanskys=math.nan)])
    assert math.isnan(registry.exposures()[0].conversion_megajanskys)


def test_selection_and_order_of_time(registry):
    late_first = [arrival(3), arrival(1), arrival(2, detector="WFI02"), arrival(4, day="2027-03-02")]
    spectral = arrival(5, optical_element="GRISM", exposure_type="WFI_SPECTRAL", day="2027-10-01")
    registry.register([*late_first, spectral])
    found = registry.exposures(day="2027-03-01", detector="WFI01")
    assert [e.exposure_id[17:20] for e in found] == ["001", "003"]
    assert len(registry.exposures(season="s01")) == 4
    assert len(registry.exposures(kind=None)) == 5
    (grism,) = registry.exposures(kind="spectral")
    assert (grism.survey, grism.season) == ("spectroscopic", None)


def test_direct_images_are_not_microlensing_images(registry):
    """Both surveys observe on 2027-10-01; a COSMOS image must not enter a bulge season."""
    bulge, direct = (arrival(1, day="2027-10-01"), arrival(2, day="2027-10-01", ra_center=150.1, dec_center=2.2))
    registry.register([bulge, direct])
    assert [e.visit_id for e in registry.exposures(season="s02")] == [bulge.header.visit_id]
    found = registry.exposures(day="2027-10-01", survey="spectroscopic")
    assert [e.visit_id for e in found] == [direct.header.visit_id]


def test_registering_again_is_a_no_op(registry):
    batch = [arrival(1), arrival(2)]
    registry.register(batch)
    before = registry.exposures()
    assert registry.register(batch) == [Outcome.DUPLICATE, Outcome.DUPLICATE]
    assert registry.exposures() == before
    assert registry.last_change() == 2
    assert {d.count for d in registry.deliveries()} == {2}


def test_other_bytes_are_a_conflict_and_the_first_stays(registry):
    registry.register([arrival(1, "a" * 64)])
    assert registry.register([arrival(1, "b" * 64)]) == [Outcome.CONFLICT]
    assert registry.exposures()[0].sha256 == "a" * 64
    assert registry.last_change() == 1
    # its bytes must be kept before the log says that it was dealt with
    assert [d.outcome for d in registry.deliveries()] == [Outcome.REGISTERED]


def test_within_one_batch(registry):
    batch = [arrival(1, "a" * 64), arrival(1, "a" * 64), arrival(1, "b" * 64), arrival(2)]
    assert registry.register(batch) == [Outcome.REGISTERED, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.REGISTERED]
    assert len(registry.exposures()) == 2


def test_replacement_gets_a_new_change_number(registry):
    registry.register([arrival(1, "a" * 64), arrival(2)])
    assert registry.register([replace(arrival(1, "b" * 64), replace=True)]) == [Outcome.REPLACED]
    found = {e.visit_id[-1]: (e.sha256[0], e.change) for e in registry.exposures()}
    assert found["1"] == ("b", 3)
    assert registry.partitions_changed_since(2) == ([("2027-03-01", "WFI01")], 3)


def test_duplicate_at_another_place_takes_over_from_a_vanished_one(registry, tmp_path):
    registry.register([arrival(1)])
    here = tmp_path / "here.asdf"
    here.touch()
    registry.register([replace(arrival(1), uri=str(here))])
    assert registry.exposures()[0].uri == str(here)
    registry.register([replace(arrival(1), uri="/elsewhere")])
    assert registry.exposures()[0].uri == str(here)


def test_changes_are_followed_without_loss(registry):
    assert registry.partitions_changed_since(0) == ([], 0)
    registry.register([arrival(1), arrival(2, detector="WFI02")])
    pairs, cursor = registry.partitions_changed_since(0)
    assert pairs == [("2027-03-01", "WFI01"), ("2027-03-01", "WFI02")]
    assert registry.partitions_changed_since(cursor) == ([], cursor)
    registry.register([arrival(3)])  # late, for the first partition
    assert registry.partitions_changed_since(cursor) == ([("2027-03-01", "WFI01")], cursor + 1)
    # in pieces of one, oldest change first: each partition comes with its newest number
    seen, position = [], 0
    while piece := registry.changes_since(position, limit=1):
        seen.append((piece[0].detector, piece[0].change))
        position = piece[0].change
    assert seen == [("WFI02", 2), ("WFI01", 3)]
    assert registry.arrived() == {("2027-03-01", "WFI01", "bulge"), ("2027-03-01", "WFI02", "bulge")}


def test_a_commit_whose_answer_was_lost_is_counted_once(registry, monkeypatch):
    """The database layer does such a change again."""
    real = registry.database.write

    def twice(change):
        real(change)
        return real(change)

    monkeypatch.setattr(registry.database, "write", twice)
    assert registry.register([arrival(1), arrival(2), arrival(1)]) == [
        Outcome.REGISTERED,
        Outcome.REGISTERED,
        Outcome.DUPLICATE,
    ]
    registry.log([Delivery("bad.asdf", "/landing/bad.asdf", 3, "v", Outcome.QUARANTINED, reason="damaged")])
    monkeypatch.undo()
    assert registry.last_change() == registry.counts()["exposures"] == 2
    assert counts_of_deliveries(registry) == [1, 1, 1]
    registry.register([arrival(2)])
    assert counts_of_deliveries(registry) == [1, 1, 2]


def counts_of_deliveries(registry):
    """How often each file was delivered."""
    with registry.database.engine.connect() as connection:
        return sorted(connection.execute(text("SELECT count FROM deliveries")).scalars())


def test_outside_the_calendar(registry):
    registry.register([arrival(1, day="2026-12-01"), arrival(2, ra_center=10.0, dec_center=0.0)])
    assert {(e.inside_calendar, e.season) for e in registry.exposures()} == {(False, None)}


def test_another_calendar(registry):
    registry.register([arrival(1, day="2026-12-01"), arrival(2)])
    assert registry.apply_calendar(CALENDAR) == 0
    season = replace(CALENDAR.seasons[0], days=(*CALENDAR.seasons[0].days, "2026-12-01"))
    assert registry.apply_calendar(replace(CALENDAR, seasons=(season,))) == 1
    assert len(registry.exposures(season="s01")) == 2
    assert registry.partitions_changed_since(2)[0] == [("2026-12-01", "WFI01")]


def test_delivery_log(registry):
    refused = Delivery("x.asdf", "/l/x.asdf", 5, "v", Outcome.QUARANTINED, "c" * 64, "truncated", "why")
    registry.log([refused])
    registry.register([arrival(1)])
    assert registry.deliveries("quarantined") == [refused]
    known = registry.known_deliveries([("/l/x.asdf", 5, "v"), ("/l/x.asdf", 6, "v"), ("/other", 5, "v")])
    assert known == {("/l/x.asdf", 5, "v"): (Outcome.QUARANTINED, None)}
    counts = registry.counts()
    assert (counts["exposures"], counts["registered"], counts["quarantined"]) == (1, 1, 1)
    assert registry.forget_refused("c" * 64) == 1
    assert registry.deliveries("quarantined") == []
    assert registry.counts()["exposures"] == 1


def test_reopening_keeps_everything(url):
    first = Registry(url, CALENDAR)
    first.register([arrival(1)])
    first.close()
    second = Registry(url)
    assert len(second.exposures()) == 1
    second.close()


def test_two_writers_get_different_numbers(url):
    """Both allocate under the same lock: no number is lost, none is given twice."""
    registries = [Registry(url, CALENDAR) for _ in range(2)]
    failures: list[BaseException] = []

    def work(registry: Registry, first: int) -> None:
        try:
            for visit in range(first, 60, 2):
                registry.register([arrival(visit)])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(r, i)) for i, r in enumerate(registries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(e.change for e in registries[0].exposures()) == list(range(1, 61))
    for registry in registries:
        registry.close()


def test_threads_of_one_registry_may_be_the_first(url, monkeypatch):
    """Once a second thread met a database without tables while the first one made them."""
    registry, errors, made = Registry(url, CALENDAR), [], threading.Event()
    real = Database.migrate

    def slowly(self, connection):
        made.set()
        time.sleep(0.2)
        real(self, connection)

    def first():
        try:
            registry.register([arrival(1)])
        except Exception as error:
            errors.append(error)

    monkeypatch.setattr(Database, "migrate", slowly)
    thread = threading.Thread(target=first)
    thread.start()
    made.wait(30)
    assert registry.register([arrival(2)]) == [Outcome.REGISTERED]
    thread.join()
    assert errors == []
    assert registry.counts()["exposures"] == 2
    registry.close()


def test_a_copy_forked_while_the_database_is_opened_waits_for_no_thread(url, monkeypatch):
    """The thread that opens it, and would let the others in, is not in the copy."""
    registry, made, copied = Registry(url, CALENDAR), threading.Event(), threading.Event()
    real = Database._open

    def slowly(self):
        made.set()
        copied.wait(30)
        return real(self)

    monkeypatch.setattr(Database, "_open", slowly)
    thread = threading.Thread(target=registry.register, args=([arrival(1)],))
    thread.start()
    assert made.wait(30)
    monkeypatch.setattr(Database, "_open", real)
    copy = multiprocessing.get_context("fork").Process(target=registry.register, args=([arrival(2)],))
    copy.start()
    copied.set()
    copy.join(30)
    ended = copy.exitcode
    copy.kill()
    thread.join()
    assert ended == 0
    assert registry.counts()["exposures"] == 2
    registry.close()


def test_a_failed_batch_leaves_nothing(registry):
    with pytest.raises(IntegrityError, match=r"NOT NULL|not-null"):
        registry.register([arrival(1), replace(arrival(2), uri=None)])  # type: ignore[arg-type]
    assert registry.exposures() == []
    assert registry.last_change() == 0
    assert registry.deliveries() == []


def test_migrations_make_the_tables_of_the_code(url):
    engine = Database(url, TABLES).engine
    found = inspect(engine)
    for table in METADATA.sorted_tables:
        columns = {c["name"]: c for c in found.get_columns(table.name)}
        assert set(columns) == {c.name for c in table.columns}, table.name
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable, f"{table.name}.{column.name}"
            ours, theirs = column.type.python_type, columns[column.name]["type"].python_type
            assert ours is theirs, f"{table.name}.{column.name}"
        assert {i["name"] for i in found.get_indexes(table.name) if not i["unique"]} == {i.name for i in table.indexes}
    engine.dispose()


def test_head_is_the_newest_migration():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "roman_assets:exposures/migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [TABLES.head]


def test_newer_database_is_refused(url):
    engine = Database(url, TABLES).engine
    with engine.begin() as connection:
        connection.execute(text("UPDATE exposures_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(InputError, match="newer"):
        Registry(url).counts()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://x/y", "/some/path"])
def test_url_of_another_kind(url):
    with pytest.raises(InputError, match="Remedy"):
        Registry(url)


def test_password_is_not_shown():
    with pytest.raises(InputError) as caught:
        Registry("oracle://user:secret@host/name")
    assert "secret" not in str(caught.value)
