"""The product contract: made once, visible by one commit, never changed, incidents reported."""

import hashlib
import pickle
import sqlite3
import threading
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from roman_assets.errors import Damaged, InputError
from roman_assets.products import IdentityConflictWarning, Products
from roman_assets.storage.base import Unavailable
from roman_assets.systems.msos.archive import ArchiveFacts, archive_metadata
from tests.products.product_frames import identity, part_frame

DAY = "day=2027-03-01/detector=WFI01"


def put(products, *, part="exposure_1", seed=0, **change):
    return products.put_table(
        "psf_photometry_part",
        DAY,
        part_frame(seed=seed),
        identity(**change),
        part=part,
        attributes={"field": "f01", "optical_element": "F146", "sky": 2.5},
        caveats=("one star missing",),
        sky=(268.0, -29.2),
        s_region="POLYGON ICRS 268 -29 268.1 -29 268.1 -29.1",
    )


def test_put_and_read_back(products):
    record = put(products)
    assert record.outcome == "new"
    assert record.sequence == 1
    assert record.rows == 50
    assert record.inputs == ("a" * 64, "b" * 64)
    assert record.config == {"tolerance": 1e-6}
    assert record.caveats == ("one star missing",)
    assert record.created_at.tzinfo is not None
    assert products.read_table(record).equals(part_frame())
    assert products.read_table(record, ["flux"]).columns == ["flux"]
    assert products.scan(record).select(pl.col("star").max()).collect().item() == 49
    metadata = products.read_metadata(record)
    assert metadata["attributes"] == {"field": "f01", "optical_element": "F146", "sky": 2.5}
    assert metadata["identity"] == record.identity == identity().digest
    products.verify(record)
    assert products.current("psf_photometry_part") == [record]


def test_making_it_again_is_a_no_op(products):
    first = put(products)
    assert products.lookup("psf_photometry_part", DAY, part="exposure_1", identity=identity()) == first
    second = put(products)
    assert second.outcome == "same"
    assert second == first
    assert len(products.history("psf_photometry_part", DAY, "exposure_1")) == 1


def test_lookup_knows_other_partitions_parts_and_identities_apart(products):
    put(products)
    missing = [
        ("psf_photometry_part", DAY, "exposure_2", identity()),
        ("psf_photometry_part", "day=2027-03-02/detector=WFI01", "exposure_1", identity()),
        ("daily_light_curves_part", DAY, "exposure_1", identity()),
        ("psf_photometry_part", DAY, "exposure_1", identity(code_version="4")),
    ]
    for kind, partition, part, other in missing:
        assert products.lookup(kind, partition, part=part, identity=other) is None


def test_new_code_supersedes_and_nothing_is_deleted(products):
    old = put(products)
    new = put(products, seed=1, code_version="4")
    assert new.sequence == 2
    assert products.current("psf_photometry_part", DAY, "exposure_1") == [new]
    history = products.history("psf_photometry_part", DAY, "exposure_1")
    assert [record.current for record in history] == [False, True]
    assert products.read_table(old).equals(part_frame())


def test_setting_changed_back_makes_the_old_product_visible_again(products):
    old = put(products)
    put(products, seed=1, code_version="4")
    found = products.lookup("psf_photometry_part", DAY, part="exposure_1", identity=identity())
    assert found is not None
    assert found.current
    assert [record.id for record in products.current("psf_photometry_part")] == [old.id]
    again = put(products, seed=1, code_version="4")
    assert again.outcome == "same"
    assert products.current("psf_photometry_part") == [again]


def test_same_identity_with_other_bytes_is_an_incident_and_the_first_stays(products):
    first = put(products)
    for _ in range(2):
        with pytest.warns(IdentityConflictWarning, match="other bytes"):
            second = put(products, seed=9)
    assert second.outcome == "conflict"
    assert second.sha256 == first.sha256
    assert products.read_table(products.current("psf_photometry_part")[0]).equals(part_frame())
    incidents = products.incidents()
    assert len(incidents) == 1
    assert incidents[0].first_sha256 == first.sha256 != incidents[0].other_sha256
    assert incidents[0].other_size > 0


def test_missing_bytes_are_made_again(products):
    record = put(products)
    products.store.delete(record.key)
    with pytest.raises(Damaged, match="materialize"):
        products.read_table(record)
    assert products.lookup("psf_photometry_part", DAY, part="exposure_1", identity=identity()) is None
    assert put(products).outcome == "new"
    products.verify(record)


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_bytes_are_noticed_and_replaced(products, damage):
    record = put(products)
    path = products.store.root / record.key
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[100] ^= 1
    else:
        del content[-7:]
    path.write_bytes(content)
    if damage == "cut":
        with pytest.raises(Damaged, match="bytes instead of"):
            products.scan(record)
    with pytest.raises(Damaged, match="instead of"):
        products.verify(record)
    put(products)
    products.verify(record)


def test_current_selects_by_attributes(products):
    for detector in ("WFI01", "WFI02"):
        for day in ("2027-03-01", "2027-03-02"):
            for part in ("e1", "e2"):
                products.put_table(
                    "psf_photometry_part",
                    f"day={day}/detector={detector}",
                    part_frame(seed=3),
                    identity(),
                    part=part,
                    attributes={"field": "f01", "visit": part[-1]},
                )
    assert len(products.current("psf_photometry_part")) == 8
    assert len(products.current("psf_photometry_part", detector="WFI01")) == 4
    assert len(products.current(day="2027-03-02", detector="WFI01")) == 2
    assert len(products.current(day=["2027-03-01", "2027-03-02"], detector="WFI02")) == 4
    assert len(products.current(visit="2")) == 4
    assert products.current(field="f02") == []
    assert [r.part for r in products.current(partition="day=2027-03-01/detector=WFI01")] == ["e1", "e2"]


def test_near_finds_products_on_the_sky_across_ra_zero(products):
    for number, ra in enumerate((359.99, 0.02, 3.0)):
        products.put_json("note", f"region={number}", {}, identity(), sky=(ra, -29.0))
    assert [r.partition for r in products.near(0.0, -29.0, 0.1)] == ["region=0", "region=1"]
    assert products.near(180.0, -29.0, 1.0) == []


def test_asdf_product_round_trip_and_same_bytes(products, tmp_path):
    tree = {"psf": np.arange(12, dtype="f4").reshape(3, 4), "positions": [[1.0, 2.0]]}
    record = products.put_asdf("epsf", "season=s01/detector=WFI01", tree, identity(), attributes={"n": 1})
    found = products.read_asdf(record)
    np.testing.assert_array_equal(found["psf"], tree["psf"])
    assert found["positions"] == [[1.0, 2.0]]
    assert found["product"]["kind"] == "epsf"
    other = Products(str(tmp_path / "other"))
    assert (
        other.put_asdf("epsf", "season=s01/detector=WFI01", tree, identity(), attributes={"n": 1}).sha256
        == record.sha256
    )


def test_json_product_round_trip(products):
    parts = [put(products, part=f"e{k}") for k in range(3)]
    document = {"parts": [{"part": r.part, "sha256": r.sha256} for r in parts], "missing": ["e9: quarantined"]}
    record = products.put_json("psf_photometry", DAY, document, identity(inputs=tuple(r.sha256 for r in parts)))
    assert products.read_json(record) == document
    with pytest.raises(InputError, match="read_json"):
        products.read_table(record)
    assert products.index.using(parts[1].sha256) == [record]


def test_archive_record_lies_beside_the_product(products):
    facts = ArchiveFacts(
        season="s01",
        processing_id="r01",
        field="f01",
        detector="WFI01",
        optical_element="F146",
        exptime=66.4,
        start=datetime(2027, 3, 1, 2, tzinfo=UTC),
        end=datetime(2027, 3, 1, 3, tzinfo=UTC),
        ra_field=268.0,
        dec_field=-29.2,
        s_region="POLYGON ICRS 268 -29 268.1 -29 268.1 -29.1",
    )
    frame = part_frame()
    record = products.put_table(
        "psf_photometry_part", DAY, frame, identity(), archive=archive_metadata("light_curve", facts)
    )
    archive = products.read_archive(record)
    assert archive["filename"] == record.key.rsplit("/", 1)[-1]
    assert archive["expstart"] == "2027-03-01T02:00:00.000"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(archive["file_date"] + "+00:00")).total_seconds()) < 60
    plain = products.put_table("psf_photometry_part", DAY, frame, identity(), part="")
    assert plain.sha256 == record.sha256, "the file's date stays outside the hash"
    wrong = archive_metadata("light_curve", facts)
    wrong["season"] = "season1"
    with pytest.raises(InputError, match="season1"):
        products.put_table("psf_photometry_part", DAY, frame, identity(code_version="5"), archive=wrong)
    assert len(products.history("psf_photometry_part", DAY)) == 1


def test_caveats_do_not_change_the_bytes(products, tmp_path):
    record = put(products)
    other = Products(str(tmp_path / "other"))
    plain = other.put_table(
        "psf_photometry_part",
        DAY,
        part_frame(),
        identity(),
        part="exposure_1",
        attributes={"field": "f01", "optical_element": "F146", "sky": 2.5},
    )
    assert plain.sha256 == record.sha256


@pytest.mark.parametrize("partition", ["../outside", "day=1/../..", "/etc", "day=\x00", ""])
def test_partition_cannot_leave_the_root(products, partition):
    with pytest.raises(InputError):
        products.put_json("note", partition, {}, identity())
    assert products.current() == []


def test_two_workers_on_one_partition(tmp_path):
    root = str(tmp_path / "products")
    Products(root).current()
    results, errors = [], []

    def work(seed):
        try:
            own = Products(root)
            for version in range(4):
                results.append(put(own, seed=version, code_version=str(version)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    products = Products(root)
    assert len(products.current("psf_photometry_part")) == 1
    history = products.history("psf_photometry_part", DAY, "exposure_1")
    assert sorted(record.sequence for record in history) == [1, 2, 3, 4]
    assert sum(record.outcome == "new" for record in results) == 4
    assert products.incidents() == []


def test_a_pickled_copy_works(products):
    put(products)
    assert pickle.loads(pickle.dumps(products)).current() == products.current()


def test_index_in_s3_needs_a_url():
    with pytest.raises(InputError, match="PostgreSQL"):
        Products("s3://bucket/prefix")


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense"])
def test_unusable_index_url(tmp_path, url):
    with pytest.raises(InputError, match="postgresql"):
        Products(str(tmp_path), url)


def test_unusable_root():
    with pytest.raises(InputError, match="s3://bucket"):
        Products("gs://bucket")


def test_migrations_make_the_tables_that_the_code_expects(products):
    import sqlalchemy as sa

    from roman_assets.products.index_tables import metadata

    products.current()
    made = sa.MetaData()
    made.reflect(products.index.database.engine)
    for name, table in metadata.tables.items():
        assert {c.name: c.nullable for c in made.tables[name].columns} == {c.name: c.nullable for c in table.columns}
        assert {i.name for i in made.tables[name].indexes} == {i.name for i in table.indexes}


def test_newest_migration_is_the_one_the_code_names():

    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from roman_assets.products.index_tables import TABLES

    config = Config()
    config.set_main_option("script_location", str(TABLES.folder))
    assert ScriptDirectory.from_config(config).get_current_head() == TABLES.head


def test_newer_index_is_refused(products):
    products.current()
    path = products.store.root / "index.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE products_alembic_version SET version_num = '9999'")
    with pytest.raises(InputError, match="newer than"):
        Products(products.root).current()


def test_disk_full_leaves_nothing_behind(products, monkeypatch):
    import errno
    import os

    old = put(products)

    def no_room(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(Unavailable, match="No space left"):
        put(products, seed=1, code_version="4")
    monkeypatch.undo()
    assert products.current("psf_photometry_part") == [old]
    assert not list((products.store.root / ".tmp").iterdir())


def test_content_hash_is_of_the_bytes_on_disk(products):
    record = put(products)
    assert hashlib.sha256((products.store.root / record.key).read_bytes()).hexdigest() == record.sha256
