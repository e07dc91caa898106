"""Killed at every step of a write: readers see the older product or the new one, and a retry completes it."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roman_assets.products import Products
from roman_assets.products.retention import collect, orphans
from roman_assets.systems.msos.archive import ArchiveFacts, archive_metadata
from tests.products.product_frames import identity, part_frame

DAY = "day=2027-03-01/detector=WFI01"
STEPS = (
    "encoded",
    "temporary_written",
    "object_written",
    "archive_written",
    "row_written",
    "index_changed",
    "index_committed",
)
FACTS = ArchiveFacts(season="s01", processing_id="r01", s_region="POLYGON ICRS 268 -29 268.1 -29 268.1 -29.1")


def write(products, version):
    return products.put_table(
        "psf_photometry_part",
        DAY,
        part_frame(seed=int(version)),
        identity(code_version=version),
        archive=archive_metadata("event", FACTS),
    )


def write_and_die(root, step):
    """Runs in a process of its own: writes version 2 and kills itself at a step."""
    products = Products(root)

    def stop(reached):
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    products.checkpoint = stop
    write(products, "2")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at(step, tmp_path):
    products = Products(str(tmp_path / "products"))
    old = write(products, "1")
    code = f"import test_faults; test_faults.write_and_die({products.root!r}, {step!r})"
    folder = Path(__file__).parent
    path = os.pathsep.join([str(folder), str(folder.parents[1])])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, timeout=120)
    assert done.returncode == -signal.SIGKILL

    seen = Products(products.root).current("psf_photometry_part")
    assert len(seen) == 1
    assert seen[0].code_version == ("2" if step == "index_committed" else "1")
    products.verify(seen[0])
    assert products.read_archive(seen[0])["filename"] == seen[0].key.rsplit("/", 1)[-1]

    again = write(products, "2")
    assert products.current("psf_photometry_part") == [again]
    assert products.read_table(again).equals(part_frame(seed=2))
    products.verify(again)
    products.verify(old)
    collect(products, dry_run=False, older_than_hours=0)
    assert orphans(products, 0) == []
    products.verify(again)
    assert products.read_archive(again)["season"] == "s01"


def test_checkpoints_are_all_passed_in_order(tmp_path):
    products = Products(str(tmp_path))
    passed = []
    products.checkpoint = passed.append
    write(products, "1")
    assert passed == list(STEPS)


def test_orphans_are_only_old_and_unnamed_objects(tmp_path):
    products = Products(str(tmp_path))
    record = write(products, "1")
    stray = tmp_path / "psf_photometry_part" / "stray.parquet"
    stray.write_bytes(b"half")
    assert orphans(products, older_than_hours=1) == []
    os.utime(stray, (0, 0))
    assert [item.key for item in orphans(products)] == ["psf_photometry_part/stray.parquet"]
    dry = collect(products)
    assert dry.dry_run
    assert dry.bytes == 4
    assert stray.exists()
    collect(products, dry_run=False)
    assert not stray.exists()
    products.verify(record)


def test_retention_removes_superseded_bytes_and_keeps_their_rows(tmp_path):
    products = Products(str(tmp_path))
    old, new = write(products, "1"), write(products, "2")
    assert collect(products, dry_run=False, superseded_after_days=1).superseded == ()
    gone = collect(products, dry_run=False, superseded_after_days=0)
    assert [record.id for record in gone.superseded] == [old.id]
    assert products.store.size(old.key) is None
    assert len(products.history("psf_photometry_part", DAY)) == 2
    products.verify(new)
    identity_1 = identity(code_version="1")
    assert products.lookup("psf_photometry_part", DAY, identity=identity_1) is None
    again = write(products, "1")
    assert again.outcome == "new"
    assert (again.sequence, again.current) == (3, True)
    products.verify(again)


def test_object_shared_by_two_products_survives_the_removal_of_one(tmp_path):
    products = Products(str(tmp_path))
    old = products.put_json("note", "region=a", {"x": 1}, identity(code_version="1"))
    new = products.put_json("note", "region=a", {"x": 1}, identity(code_version="2"))
    assert old.key == new.key
    collect(products, dry_run=False, superseded_after_days=0)
    assert products.read_json(new) == {"x": 1}
    assert datetime.now(UTC) > new.created_at
