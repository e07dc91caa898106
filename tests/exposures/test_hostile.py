"""Whatever one file does, it is refused with its reason, and the rest goes on: the whole hostile corpus at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from roman_assets.exposures.level2.reader import read_header
from roman_assets.exposures.quarantine import Quarantine
from roman_assets.exposures.registry import Registry
from roman_assets.exposures.rejection import Rejected
from roman_assets.text import is_storable
from tests.exposures.hostile import corpus, good_files
from tests.exposures.hostile_cases import OTHER_DAY, Case, write_corpus
from tests.exposures.level2_files import NAME, SIDE, number_of
from tests.orchestration.test_landing_sensor import Ticker

GOOD = {number_of(visit, 1, 1) for visit in (1, 2, 3)}
CPU_SECONDS = 10.0
HEADER_CPU_SECONDS = 1.0


@pytest.fixture(scope="module")
def cases(valid_parts) -> list[Case]:
    made = corpus(valid_parts)
    assert len(made) >= 60
    return made


@pytest.fixture(scope="module")
def folder(valid_parts, cases, tmp_path_factory) -> Path:
    """A landing folder of all hostile files, with good ones before, between and after them."""
    place = tmp_path_factory.mktemp("hostile") / "landing"
    place.mkdir()
    write_corpus(place, cases)
    for name, make in good_files(valid_parts):
        (place / name).write_bytes(make().bytes)
    return place


def roman(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, on a terminal of UTF-8."""
    code = "from roman_assets.cli import main; main()"
    command = [sys.executable, "-c", code, "--home", os.fspath(home), *map(os.fspath, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "2000", "TERM": "dumb"}
    return subprocess.run(command, capture_output=True, env=environment, check=False)


def shown(output: bytes) -> str:
    """What a terminal shows: text, and nothing that commands it."""
    text = output.decode("utf-8")
    assert all(c.isprintable() or c == "\n" for c in text), sorted({c for c in text if not c.isprintable()})
    return text


# ---- ingestion -------------------------------------------------------------------------------------------

MEMORY = """
def memory_mb():
    with open("/proc/self/status") as status:  # not ru_maxrss, which a process has from the one that started it
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024
"""

INGEST = (
    MEMORY
    + """
import json, sys, time
from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.quarantine import Quarantine
from roman_assets.exposures.registry import Registry
from roman_assets.survey.calendar import SHIPPED, load_calendar
folder, place = sys.argv[1:]
times, last = {}, [time.process_time()]
def progress(name, done, total):
    now = time.process_time()
    times[name], last[0] = now - last[0], now
report = ingest([folder], Registry(f"sqlite:///{place}/r.sqlite"), Quarantine(f"{place}/q"), load_calendar(SHIPPED),
                progress=progress)
found = {name: getattr(report, name) for name in ("registered", "replaced", "duplicates", "waiting", "caveats",
                                                    "remaining", "problems", "known")}
for name in ("conflicts", "quarantined", "unavailable"):
    found[name] = [(r.name, r.reason, r.message) for r in getattr(report, name)]
found["slowest"] = max(times.items(), key=lambda item: item[1])
found["memory_mb"] = memory_mb()
print(json.dumps(found))
"""
)


@pytest.fixture(scope="module")
def ingested(folder, tmp_path_factory):
    """The report of an ingestion in a process of its own, with what it cost, and the place where it was made."""
    place = tmp_path_factory.mktemp("place")
    command = [sys.executable, "-c", INGEST, str(folder), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), place


def test_each_case_is_refused_with_its_reason_or_carries_its_caveat(ingested, cases):
    report, _ = ingested
    refused = {name: reason for name, reason, _ in report["quarantined"]}
    conflicts = {name: reason for name, reason, _ in report["conflicts"]}
    wrong = []
    for case in cases:
        if case.caveats:
            caveats = report["caveats"].get(case.shown_name.removesuffix("_cal.asdf"), [])
            if not case.caveats & set(caveats):
                wrong.append((case.label, refused.get(case.shown_name), caveats))
        elif "conflict" in case.reasons:
            if conflicts.get(case.shown_name) != "conflict":
                wrong.append((case.label, conflicts))
        elif refused.get(case.shown_name) not in case.reasons:
            wrong.append((case.label, refused.get(case.shown_name), sorted(case.reasons)))
    assert wrong == []


def test_good_files_among_them_are_registered_without_a_caveat(ingested):
    report, _ = ingested
    ids = {name.removesuffix("_cal.asdf") for name in GOOD}
    assert ids <= set(report["registered"])
    assert not ids & set(report["caveats"])


def test_every_file_is_in_one_row(ingested, cases):
    report, place = ingested
    rows = Counter(name for row in ("conflicts", "quarantined", "unavailable") for name, _, _ in report[row])
    rows += Counter(f"{exposure}_cal.asdf" for row in ("registered", "replaced") for exposure in report[row])
    expected = Counter(case.shown_name for case in cases) + Counter(GOOD)
    assert rows == expected
    assert report["waiting"] == report["duplicates"] == report["problems"] == []
    assert report["remaining"] == report["known"] == 0
    registry = Registry(f"sqlite:///{place}/r.sqlite")
    assert Counter(delivery.name for delivery in registry.deliveries()) == expected


def test_bytes_and_reasons_are_kept(ingested, cases):
    _, place = ingested
    quarantine = Quarantine(place / "q")
    records = {record.name: record for record in quarantine.list()}
    refused = [case for case in cases if case.reasons]
    assert len(refused) > 20
    for case in refused:
        assert quarantine.read(records[case.shown_name].sha256) == case.data
    for record in records.values():
        text = record.message
        assert text.isprintable()
        assert "Remedy" in text or len(text) >= 1000
    stored = list((place / "q").rglob("*.json"))
    assert len(stored) >= len(records)
    for path in stored:
        for value in json.loads(path.read_bytes()).values():
            assert is_storable(str(value))  # a lone surrogate is no text, and no JSON


def test_it_costs_little(ingested):
    report, _ = ingested
    name, seconds = report["slowest"]
    assert seconds < CPU_SECONDS, name
    assert report["memory_mb"] < 1000


# ---- headers ---------------------------------------------------------------------------------------------

HEADERS = (
    MEMORY
    + """
import json, os, sys, time
from roman_assets.exposures.level2.reader import read_header
from roman_assets.exposures.rejection import Rejected
from roman_assets.text import is_storable
slowest = ("", 0.0)
for name in sorted(os.listdir(os.fsencode(sys.argv[1]))):
    path = os.path.join(os.fsencode(sys.argv[1]), name)
    if os.path.isdir(path):
        continue
    start = time.process_time()
    try:
        read_header(os.fsdecode(path))
    except Rejected:
        pass
    slowest = max(slowest, (ascii(name), time.process_time() - start), key=lambda item: item[1])
print(json.dumps({"slowest": slowest, "memory_mb": memory_mb()}))
"""
)


def test_every_header_costs_less_than_a_second_and_300_mb(folder):
    command = [sys.executable, "-c", HEADERS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["slowest"][1] < HEADER_CPU_SECONDS, found["slowest"]
    assert found["memory_mb"] < 300


def test_headers_tell_what_they_can(folder, cases):
    assert {bool(case.header) for case in cases} == {True, False}
    for case in cases:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), case.name)))
        if case.header:
            with pytest.raises(Rejected) as caught:
                read_header(path)
            assert caught.value.reason in case.reasons, case.label
        else:
            read_header(path)


BIG = (
    MEMORY
    + """
import sys, time
from roman_assets.exposures.level2.reader import read_header, validate
from roman_assets.exposures.rejection import Rejected
from roman_assets.text import is_storable
start = time.process_time()
for check in (validate, read_header):
    try:
        check(sys.argv[1])
        print("accepted")
    except Rejected as rejected:
        print(rejected.reason)
print(time.process_time() - start, memory_mb())
"""
)


@pytest.mark.parametrize(
    ("allocated", "expected"), [(None, ["trailing_bytes", "accepted"]), (1_900_000_000, ["accepted"] * 2)]
)
def test_a_file_of_1900_megabytes_is_not_read_into_memory(parts, tmp_path, allocated, expected):
    """Zeros behind the last block; and within it, where they belong to the file (and to its digest)."""
    path = tmp_path / NAME
    data = parts.bytes
    if allocated:
        data = data[: data.index(b"#ASDF BLOCK INDEX")]
        offset = data.rindex(b"\xd3BLK")
        data = data[: offset + 14] + allocated.to_bytes(8, "big") + data[offset + 22 :]
        size = offset + 54 + allocated
    else:
        size = 1_900_000_000
    path.write_bytes(data)
    os.truncate(path, size)  # sparse: it takes no room
    done = subprocess.run([sys.executable, "-c", BIG, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    *outcomes, seconds, memory = done.stdout.split()
    assert outcomes == expected
    assert float(seconds) < 2 * CPU_SECONDS
    assert float(memory) < 400  # with asdf, astropy and gwcs


# ---- the other doors -------------------------------------------------------------------------------------


def test_the_landing_sensor_takes_the_good_ones_and_goes_on(folder, cases, tmp_path):
    ticker = Ticker(tmp_path, full=True, tick_seconds=1000.0)
    ticker.landing = folder
    requests = ticker.tick()
    assert {str(request.partition_key) for request in requests} >= {"2027-03-01|WFI01"}
    registry = Registry(ticker.url)
    counts = registry.counts()
    refused = sum(1 for case in cases if case.reasons and "conflict" not in case.reasons)
    assert counts["quarantined"] == refused
    assert counts["conflict"] == 1
    assert counts["registered"] == len(GOOD) + len(cases) - refused - 1
    assert ticker.tick() == []
    assert all(delivery.count == 1 for delivery in registry.deliveries())


def test_calendar_ingest_and_listings(folder, cases, tmp_path):
    """The commands end, show every file as it is called, and nothing of what files say is obeyed."""
    made = roman(tmp_path, "calendar", "init", folder)
    text = shown(made.stdout)
    assert (made.returncode, made.stderr) == (0, b""), text
    left_out = [case for case in cases if case.header and case.name.endswith(b"_cal.asdf")]
    readable = len(GOOD) + sum(1 for case in cases if case.name.endswith(b"_cal.asdf")) - len(left_out)
    assert text.count("left out:") == len(left_out)
    assert f"written for {readable} exposures" in text
    calendar = (tmp_path / "calendar.toml").read_text()
    assert OTHER_DAY in calendar
    assert "2027-03-09" not in calendar
    done = roman(tmp_path, "ingest", folder)
    text = shown(done.stdout)
    assert done.returncode == 2, text
    assert all(re.fullmatch(rb"ingesting \d+/\d+ [ -~]* \([^()]*\)", line) for line in done.stderr.splitlines())
    refused = sum(1 for case in cases if case.reasons and "conflict" not in case.reasons)
    assert re.search(rf"quarantined +│ +{refused} ", text)
    assert re.search(r"unavailable +│ +0 ", text)
    listed = roman(tmp_path, "quarantine", "list")
    text = shown(listed.stdout)
    assert (listed.returncode, listed.stderr) == (0, b""), text
    for part in ("[red]bold [link=x].asdf", "[bold].asdf", ":bomb:.asdf", "r\\x1b[2J", "r\\udcff\\udcfe"):
        assert part in text


def test_the_base_of_the_corpus_is_valid(valid_parts, tmp_path):
    """Every case is hostile by what it changes, not by what it is made of."""
    from roman_assets.exposures.level2.reader import validate
    from tests.exposures.hostile_cases import Corpus

    made = Corpus(valid_parts)
    path = tmp_path / made.name.decode()
    path.write_bytes(made.exposure().bytes)
    _, header = validate(path)
    assert (header.caveats, header.shape) == ((), (SIDE, SIDE))
