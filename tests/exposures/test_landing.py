"""Landing places: what is complete, what is still being written, folders and buckets alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from roman_assets.errors import InputError
from roman_assets.exposures.landing import FileList, Landing, local_exposure, open_landing
from roman_assets.storage.base import Unavailable
from roman_assets.storage.blobs import open_blobs
from roman_assets.storage.folder import FolderBlobs
from tests.exposures.fake_s3 import FakeS3


def put(folder, name: str, data: bytes = b"x", age: float = 100.0):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return path


def names(listing) -> list[str]:
    return [file.name for file in listing.files]


def test_files_that_are_complete(tmp_path):
    put(tmp_path, "b.asdf")
    put(tmp_path, "deep/er/a.asdf")
    put(tmp_path, "c.asdf.part")
    put(tmp_path, ".d.asdf")
    put(tmp_path, "e.asdf", age=1)
    put(tmp_path, "notes.txt")
    listing = Landing(tmp_path).list()
    assert names(listing) == ["b.asdf", "a.asdf"]
    assert sorted(listing.waiting) == [".d.asdf", "c.asdf.part", "e.asdf"]
    assert names(Landing(tmp_path, settle_seconds=0).list()) == ["b.asdf", "e.asdf", "a.asdf"]


def test_manifest_settles_a_young_file(tmp_path):
    """A file with the announced size is whole, however young; with less it is still arriving."""
    put(tmp_path, "whole.asdf", b"12345", age=0)
    put(tmp_path, "partly.asdf", b"123", age=0)
    entries = [{"name": name, "size": 5, "sha256": "0" * 64} for name in ("whole.asdf", "partly.asdf", "late.asdf")]
    put(tmp_path, "delivery_manifest.json", json.dumps({"files": entries}).encode())
    listing = Landing(tmp_path).list()
    assert names(listing) == ["whole.asdf"]
    assert listing.waiting == ["partly.asdf"]
    assert listing.missing == ["late.asdf"]


def test_bad_and_contradicting_manifests_are_problems(tmp_path):
    put(tmp_path, "a_manifest.json", b"{")
    for i in (1, 2):
        entry = {"name": "x.asdf", "size": i, "sha256": "0" * 64}
        put(tmp_path, f"b{i}_manifest.json", json.dumps([entry]).encode())
    listing = Landing(tmp_path).list()
    assert len(listing.problems) == 2
    assert listing.manifest["x.asdf"].size == 1


def test_links_are_not_followed(tmp_path):
    put(tmp_path / "outside", "secret.asdf")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.asdf").symlink_to(tmp_path / "outside" / "secret.asdf")
    (inside / "folder").symlink_to(tmp_path / "outside")
    assert Landing(inside).list().files == []


def test_version_changes_with_the_file(tmp_path):
    path = put(tmp_path, "a.asdf")
    first = Landing(tmp_path).list().files[0].identity
    assert Landing(tmp_path).list().files[0].identity == first
    put(tmp_path, "a.asdf", age=50)
    assert Landing(tmp_path).list().files[0].identity != first
    assert first[0] == str(path)


def test_named_files_do_not_wait(tmp_path):
    path = put(tmp_path, "a.asdf", age=0)
    for source in (path, str(path), [path], tmp_path):
        assert names(open_landing(source).list()) == ["a.asdf"]
    with pytest.raises(InputError, match="no such file"):
        FileList([tmp_path / "absent"]).list()
    with pytest.raises(InputError, match="no such folder"):
        Landing(tmp_path / "absent")


@pytest.fixture
def s3():
    return FakeS3()


def test_bucket(s3, tmp_path):
    s3.objects = {f"in/{i}.asdf": bytes([i]) * (i + 1) for i in range(5)}
    s3.objects |= {"in/folder/": b"", "other/z.asdf": b"z", "in/x.asdf.part": b""}
    landing = Landing("s3://bucket/in", client=s3)
    listing = landing.list()
    assert names(listing) == [f"{i}.asdf" for i in range(5)]
    assert listing.files[3].uri == "s3://bucket/in/3.asdf"
    with landing.fetch(listing.files[3]) as path:
        assert (path.name, path.read_bytes()) == ("3.asdf", b"\3\3\3\3")
    assert not path.exists()
    assert names(Landing("s3://bucket", client=s3).list())[-1] == "z.asdf"


def test_hostile_key_does_not_choose_where_it_is_written(s3):
    s3.objects = {"in/a/../../../../tmp/evil.asdf": b"x"}
    landing = Landing("s3://bucket/in", client=s3)
    (file,) = landing.list().files
    with pytest.raises(InputError, match="leaves"), landing.fetch(file):
        pass


def test_failed_request_is_not_the_files_fault(s3):
    s3.objects = {"in/a.asdf": b"x"}
    landing = Landing("s3://bucket/in", client=s3)
    (file,) = landing.list().files
    s3.broken = True
    with pytest.raises(Unavailable), landing.fetch(file):
        pass
    with pytest.raises(Unavailable):
        landing.list()


def test_keys_stay_in_their_folder(tmp_path):
    blobs = FolderBlobs(tmp_path / "root")
    for key in ("../x", "a/../../x", "/etc/passwd"):
        with pytest.raises(InputError, match="leaves"):
            blobs.write(key, b"x")
    with pytest.raises(InputError, match="not a place"):
        open_blobs("http://host/x")


def test_failed_write_leaves_the_old_file(tmp_path):
    blobs = FolderBlobs(tmp_path)
    blobs.write("a", b"old")
    with pytest.raises(Unavailable):
        blobs.upload("a", tmp_path / "absent")
    assert blobs.read("a", -1) == b"old"
    assert [stat.key for stat in blobs.list()] == ["a"]


def test_local_exposure(tmp_path):
    path = put(tmp_path, "a.asdf")
    with local_exposure(str(path)) as found:
        assert found == path


def test_folders_do_not_import_boto3():
    code = "import sys, roman_assets.exposures.ingest; print('boto3' in sys.modules, 'asdf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
