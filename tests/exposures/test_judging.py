"""A verdict is on a file; what a moment does to it is none."""

from __future__ import annotations

import errno
import os
import shutil
import time

import pytest
from sqlalchemy.exc import OperationalError

from roman_assets.errors import InputError, Transient
from roman_assets.exposures.judging import judging
from roman_assets.exposures.landing import FileList, Landing
from roman_assets.exposures.level2 import guards, reader
from roman_assets.exposures.level2.file_bytes import FileBytes, opened
from roman_assets.exposures.level2.guards import check_file
from roman_assets.exposures.level2.reader import read_header, read_image, validate
from roman_assets.exposures.rejection import Limits, Reason, Rejected
from roman_assets.storage.base import Absent, Unavailable
from roman_assets.storage.folder import FolderBlobs
from tests.exposures.level2_files import NAME, another, number_of, write
from tests.exposures.test_ingest import Place

MOMENTARY = [
    *(OSError(getattr(errno, name), name) for name in ("EIO", "ENOSPC", "ESTALE", "ETIMEDOUT", "EMFILE", "EACCES")),
    FileNotFoundError(errno.ENOENT, "gone"),
    PermissionError("no"),
    TimeoutError("timed out"),
    ConnectionResetError("reset"),
    MemoryError(),
    OperationalError("SELECT 1", {}, Exception("server closed the connection")),
    Unavailable("no", file="x", remedy="again."),
]
OF_THE_FILE = [
    KeyError("maybe"),
    IndexError("string index out of range"),
    OverflowError("int too large to convert to float"),
    RecursionError(),
    ValueError("\x1b[31m[red]"),
    AttributeError("group"),
    OSError("Invalid data stream"),
    OSError(errno.ENAMETOOLONG, "File name too long"),
    ZeroDivisionError(),
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
]


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.registry.close()


def test_unavailable_is_transient_and_no_input_error():
    error = Unavailable("cannot be read", file="a.asdf", field="data", remedy="try again.")
    assert isinstance(error, Transient)
    assert not isinstance(error, InputError)
    assert (error.problem, error.file, error.field, error.remedy) == ("cannot be read", "a.asdf", "data", "try again.")
    assert str(error) == "a.asdf, field data: cannot be read Remedy: try again."


def test_a_file_that_is_gone_is_absent_only_where_others_are_there(tmp_path):
    """An empty folder may be a disk that is not mounted: that says nothing of the file."""
    with pytest.raises(Unavailable, match="No such file") as caught:
        read_image(tmp_path / NAME)
    assert str(caught.value).count("Remedy") == 1
    assert caught.value.file == str(tmp_path / NAME)
    (tmp_path / "another").touch()
    with pytest.raises(Absent, match="No such file") as caught:
        read_image(tmp_path / NAME)
    assert not isinstance(caught.value, Rejected)


@pytest.mark.parametrize("error", MOMENTARY, ids=repr)
def test_moments_are_not_judged(error):
    with pytest.raises(Unavailable), judging("x.asdf"):
        raise error


@pytest.mark.parametrize("error", OF_THE_FILE, ids=repr)
def test_anything_else_is_the_files(error):
    with pytest.raises(Rejected, match="x") as caught, judging("x.asdf"):
        raise error
    assert caught.value.reason is Reason.UNREADABLE
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_program_passes(error):
    with pytest.raises(error), judging("x.asdf"):
        raise error


@pytest.mark.parametrize("check", [read_header, read_image, validate])
@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), OSError(errno.EIO, "Input/output error")], ids=repr)
def test_all_readers_judge_alike(parts, tmp_path, monkeypatch, check, error):
    path = write(tmp_path, parts)

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(guards, "compose", fails)
    with pytest.raises(Rejected if isinstance(error, KeyError) else Unavailable):
        check(path)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")], ids=repr)
def test_a_fault_while_asdf_reads_is_no_verdict(parts, tmp_path, monkeypatch, error):
    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(reader, "_build", fails)
    with pytest.raises(Unavailable):
        validate(write(tmp_path, parts))


# ---- a file that changes ---------------------------------------------------------------------------------


def test_file_bytes_slice_like_bytes(tmp_path):
    data = bytes(range(256)) * 100
    path = tmp_path / "x"
    path.write_bytes(data)
    with opened(path) as found:
        assert len(found) == len(data)
        for part in (slice(0, 10), slice(25_590, 30_000), slice(-5, None), slice(9, 3), slice(40_000, 50_000)):
            assert found[part] == data[part]
        with found.open() as stream:
            assert stream.read(5) == data[:5]


@pytest.mark.parametrize("check", [check_file, validate])
@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_a_file_that_changes_is_not_judged(tmp_path, parts, monkeypatch, change, check):
    """What is still being written looks truncated, or has other pixels than its digest."""
    path = write(tmp_path, parts)
    walk = guards.walk

    def walk_then_change(data, *args):
        layout = walk(data, *args)
        size = os.path.getsize(path)
        with open(path, "r+b") as stream:
            if change == "shorter":
                stream.truncate(size // 2)
            else:
                stream.seek(size if change == "longer" else size - 500)
                stream.write(b"xxxx")
        os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
        return layout

    monkeypatch.setattr(guards, "walk", walk_then_change)
    with pytest.raises(Unavailable, match="changed"):
        check(path)


def test_a_file_too_large_is_not_read(tmp_path, parts, monkeypatch):
    path = write(tmp_path, parts)

    def reads(self, part):
        raise AssertionError("it is read")

    monkeypatch.setattr(FileBytes, "__getitem__", reads)
    with pytest.raises(Rejected) as caught:
        check_file(path, limits=Limits(file_bytes=100))
    assert caught.value.reason is Reason.TOO_LARGE


# ---- ingestion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyError("maybe"), IndexError(), OverflowError("x"), RecursionError()], ids=repr)
def test_any_exception_quarantines_one_file_and_the_rest_goes_on(place, parts, monkeypatch, error):
    for visit in (1, 2, 3):
        place.put(another(parts, visit), number_of(visit, 1, 1))
    header_from_tree = reader.header_from_tree

    def fails(tree, path):
        if os.path.basename(path) == number_of(2, 1, 1):
            raise error
        return header_from_tree(tree, path)

    monkeypatch.setattr(reader, "header_from_tree", fails)
    report = place.run()
    assert [(refused.name, refused.reason) for refused in report.quarantined] == [(number_of(2, 1, 1), "unreadable")]
    assert len(report.registered) == 2
    assert place.run().known == 3


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), MemoryError(), PermissionError("no")], ids=repr)
def test_what_cannot_be_read_now_is_a_row_of_its_own_and_no_delivery(place, parts, monkeypatch, error):
    for visit in (1, 2):
        place.put(another(parts, visit), number_of(visit, 1, 1))
    pread = os.pread
    first = os.stat(place.landing / number_of(1, 1, 1)).st_ino

    def fails(descriptor, *args):
        if os.fstat(descriptor).st_ino == first:
            raise error
        return pread(descriptor, *args)

    monkeypatch.setattr(os, "pread", fails)
    report = place.run()
    assert [(item.name, item.reason) for item in report.unavailable] == [(number_of(1, 1, 1), "unavailable")]
    assert (len(report.registered), report.quarantined, report.complete) == (1, [], False)
    assert [delivery.name for delivery in place.registry.deliveries()] == [number_of(2, 1, 1)]
    assert place.quarantine.list() == []
    monkeypatch.undo()
    report = place.run()
    assert (len(report.registered), report.known, report.complete) == (1, 1, True)


def test_a_damaged_record_of_the_quarantine_stops_nothing(place, parts):
    place.put(parts, "bad.asdf")
    place.run()
    (record,) = (place.landing.parent / "quarantine").rglob("*.json")
    record.write_text("{")
    place.put(parts, "z/bad.asdf")
    place.put(parts)
    report = place.run()
    assert len(report.registered) == 1
    assert [item.name for item in report.unavailable] == ["bad.asdf"]


def test_a_path_too_long_for_an_index_of_postgresql(place, parts):
    deep = place.landing
    for _ in range(12):
        deep = deep / ("x" * 200)
    deep.mkdir(parents=True)
    write(deep, parts)
    place.put(another(parts, 2), number_of(2, 1, 1))
    report = place.run()
    assert [(refused.name, refused.reason) for refused in report.quarantined] == [(NAME, "bad_name")]
    assert len(report.registered) == 1
    assert max(len(delivery.uri.encode()) for delivery in place.registry.deliveries()) < 2700
    assert place.run().known == 2


# ---- listing ---------------------------------------------------------------------------------------------


def test_files_and_folders_that_go_away_while_a_folder_is_listed(tmp_path, parts, monkeypatch):
    for name in ("a.asdf", "b.asdf", "c.asdf"):
        write(tmp_path, parts, name)
    write(tmp_path, parts, "folder/d.asdf")
    scandir = os.scandir

    def scan_and_lose(folder):
        listing = scandir(folder)
        if folder == tmp_path:
            entries = list(listing)
            (tmp_path / "b.asdf").unlink()
            (tmp_path / "c.asdf").rename(tmp_path / "e.asdf")
            shutil.rmtree(tmp_path / "folder")
            return _Entries(entries)
        return listing

    class _Entries(list):
        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

    monkeypatch.setattr(os, "scandir", scan_and_lose)
    unreadable: list[str] = []
    assert [stat.key for stat in FolderBlobs(tmp_path).list(unreadable=unreadable)] == ["a.asdf"]
    assert unreadable == []


def test_a_folder_that_cannot_be_listed_is_a_problem(place, parts, monkeypatch):
    place.put(parts)
    place.put(parts, f"closed/{NAME}")
    scandir = os.scandir

    def closed(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    report = place.run()
    assert len(report.registered) == 1
    assert "closed" in report.problems[0]
    assert not report.complete


def test_a_manifest_that_cannot_be_read_is_a_problem(place, parts, monkeypatch):
    place.put(parts)
    (place.landing / "manifest.json").write_text("[]")
    landing = Landing(place.landing, settle_seconds=0)

    def fails(key, limit):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(landing.blobs, "read", fails)
    report = place.run(landing)
    assert len(report.registered) == 1
    assert "Permission denied" in report.problems[0]


def test_links_in_a_folder_of_the_users_are_followed_to_exposures(place, parts, tmp_path):
    """How people collect data: links to files and to folders, some of them in a circle or leading nowhere."""
    store = tmp_path / "store"
    write(store, parts)
    write(store / "more", another(parts, 2), number_of(2, 1, 1))
    (tmp_path / "secret").write_text("a key")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / NAME).symlink_to(store / NAME)
    (mine / "folder").symlink_to(store / "more")
    (store / "more" / "circle").symlink_to(mine)
    (mine / "secret_cal.asdf").symlink_to(tmp_path / "secret")
    (mine / "gone_cal.asdf").symlink_to(tmp_path / "gone")
    report = place.run([mine])
    assert len(report.registered) == 2
    assert sorted(problem.partition("mine/")[2].partition(":")[0] for problem in report.problems) == [
        "gone_cal.asdf",
        "secret_cal.asdf",
    ]
    assert place.quarantine.list() == []
    assert {exposure.uri for exposure in place.registry.exposures()} == {
        str(mine / NAME),
        str(mine / "folder" / number_of(2, 1, 1)),
    }


def test_links_at_a_landing_place_are_named_and_not_followed(place, parts, tmp_path):
    write(tmp_path / "store", parts)
    (place.landing / NAME).symlink_to(tmp_path / "store" / NAME)
    report = place.run()
    assert report.registered == []
    assert "not followed" in report.problems[0]
    assert NAME in report.problems[0]


def test_a_clock_ahead_of_ours_delays_nothing(place, parts):
    """The time of modification is the sender's; files that the user names are taken as they are."""
    ahead = time.time() + 7200
    os.utime(place.put(parts), (ahead, ahead))
    assert [file.name for file in FileList([place.landing]).list().files] == [NAME]
    listing = Landing(place.landing, settle_seconds=0.2)
    time.sleep(0.3)
    assert [file.name for file in listing.list().files] == [NAME]


def test_a_file_named_twice_is_one(place, parts):
    path = place.put(parts)
    report = place.run([path, place.landing, path])
    assert (len(report.registered), report.duplicates) == (1, [])
