"""Ingestion: from a landing place to the registry, used alike by the command line and the sensor.

Each file is validated on its own: a bad one is quarantined with its reason and never stops the others, whatever it
makes a reader raise (``judging``).  One that cannot be read now is reported and tried again another time.  Good
ones are registered in batches, one transaction each.  Whatever interrupts an ingestion, running it again does
the rest and nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from roman_assets.errors import InputError
from roman_assets.exposures.judging import judging
from roman_assets.exposures.landing import FileList, LandedFile, Landing, Listing, open_landing
from roman_assets.exposures.level2.guards import ManifestEntry
from roman_assets.exposures.level2.reader import PixelGates, validate
from roman_assets.exposures.names import plain_name
from roman_assets.exposures.quarantine import Quarantine, QuarantineRecord
from roman_assets.exposures.records import place_of
from roman_assets.exposures.registry import Arrival, Delivery, Outcome, Registry
from roman_assets.exposures.rejection import Reason, Rejected
from roman_assets.survey.model import Calendar
from roman_assets.text import printable

BATCH = 64
_HERE = (Outcome.REGISTERED, Outcome.REPLACED, Outcome.DUPLICATE)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Refused:
    """A file that was not registered: its name as it is, the reason code, and the message with the remedy."""

    name: str
    reason: str
    message: str


@dataclass
class IngestReport:
    """What an ingestion did, and everything it did not do.

    Every file of the listing is in one of ``registered``, ``replaced``, ``duplicates``, ``conflicts``,
    ``quarantined``, ``unavailable`` and ``waiting``, or counted in ``known`` (not those of ``duplicates``) or
    ``remaining``.
    """

    registered: list[str] = field(default_factory=list)  # exposure ids
    replaced: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    conflicts: list[Refused] = field(default_factory=list)
    quarantined: list[Refused] = field(default_factory=list)
    outside_calendar: list[str] = field(default_factory=list)
    caveats: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by exposure id
    waiting: list[str] = field(default_factory=list)  # still being written
    missing: list[str] = field(default_factory=list)  # announced by a manifest, not delivered
    unavailable: list[Refused] = field(default_factory=list)  # could not be read now, to be tried again
    unlisted: list[str] = field(default_factory=list)  # manifests, links and folders that cannot be used
    known: int = 0  # dealt with at an earlier time, skipped
    remaining: int = 0  # not reached within the time allowed
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """Everything that is to be tried again, in words."""
        return self.unlisted + [printable(f"{item.name}: {item.message}") for item in self.unavailable]

    @property
    def complete(self) -> bool:
        """True if every file that is here was registered, now or before."""
        return not (self.conflicts or self.quarantined or self.problems)


def ingest(
    paths_or_landing: str | Path | Sequence[str | Path] | Landing | FileList,
    registry: Registry,
    quarantine: Quarantine,
    calendar: Calendar,
    *,
    progress: Progress | None = None,
    full: bool = True,
    gates: PixelGates | None = PixelGates(),
    batch: int = BATCH,
    deadline: float | None = None,
) -> IngestReport:
    """Validate and register what has arrived.

    Parameters
    ----------
    paths_or_landing
        A ``Landing`` or bucket URL: what is known is skipped, what is being written waits.  Paths of files
        and folders: taken as they are; files refused before are looked at again.
    progress
        Called with (name, number done, number to do) after each file.
    full
        Also check the schema of roman_datamodels and the pixels.
    deadline
        Value of ``time.monotonic()`` after which no other file is begun; the rest is counted in
        ``remaining``.

    Raises
    ------
    InputError
        If the place itself cannot be listed.  A bad file raises nothing: it is in the report.
    """
    start = time.monotonic()
    landing = open_landing(paths_or_landing)
    listing = landing.list()
    run = _Ingestion(landing, registry, quarantine, calendar, full, gates)
    files = run.skip_known(listing)
    for done, file in enumerate(files):
        if deadline is not None and time.monotonic() > deadline:
            run.report.remaining = len(files) - done
            break
        run.take(file, listing.manifest.get(file.name))
        if len(run.arrivals) + len(run.refused) >= batch:
            run.flush()
        if progress is not None:
            progress(printable(file.name), done + 1, len(files))
    run.flush()
    run.report.seconds = time.monotonic() - start
    return run.report


def release(
    registry: Registry,
    quarantine: Quarantine,
    sha256: str,
    reason: Reason | str,
    *,
    reviewer: str,
    note: str,
    destination: str | Path | None = None,
) -> QuarantineRecord:
    """Put a reviewed file back for ingestion: the next one looks at it again and accepts it.

    Raises InputError if it is not in quarantine for this reason, or the reason may not be waived.
    """
    record = quarantine.release(sha256, reason, reviewer=reviewer, note=note, destination=destination)
    registry.forget_refused(sha256)
    return record


class _Ingestion:
    """One run over a listing; holds the batch that is not yet registered."""

    def __init__(
        self,
        landing: Landing | FileList,
        registry: Registry,
        quarantine: Quarantine,
        calendar: Calendar,
        full: bool,
        gates: PixelGates | None,
    ) -> None:
        self.landing = landing
        self.registry = registry
        self.quarantine = quarantine
        self.calendar = calendar
        self.full = full
        self.gates = gates
        self.report = IngestReport()
        self.arrivals: list[tuple[LandedFile, Arrival]] = []
        self.refused: list[Delivery] = []

    def skip_known(self, listing: Listing) -> list[LandedFile]:
        """Files to look at: not those that the delivery log knows, in whatever order they came."""
        self.report.waiting = [printable(key) for key in listing.waiting]
        self.report.missing = listing.missing
        self.report.unlisted = listing.problems
        known = self.registry.known_deliveries(file.identity for file in listing.files)
        todo = []
        for file in listing.files:
            outcome, exposure_id = known.get(file.identity, (None, None))
            if outcome is None:
                todo.append(file)
            elif isinstance(self.landing, Landing):
                self.report.known += 1
            elif outcome in _HERE:
                self.report.known += 1
                self.report.duplicates.append(exposure_id or file.name)
            else:
                todo.append(file)  # the user names a refused file again: look at it again
        return todo

    def take(self, file: LandedFile, expected: ManifestEntry | None) -> None:
        """Validate one file and queue it, or quarantine it, or report that it cannot be read now."""
        with self._tried_again(file), self.landing.fetch(file) as path:
            try:
                with judging(file.uri):
                    self._validate(file, path, expected)
            except Rejected as rejected:
                self._refuse(file, path, rejected, Outcome.QUARANTINED, self.report.quarantined)

    @contextmanager
    def _tried_again(self, file: LandedFile) -> Iterator[None]:
        """Report what is wrong with landing place, quarantine or moment: nothing else stops for it."""
        try:
            yield
        except Exception as error:
            self.report.unavailable.append(Refused(file.name, "unavailable", printable(error)))

    def _validate(self, file: LandedFile, path: Path, expected: ManifestEntry | None) -> None:
        try:
            plain_name(file.name)
        except InputError as error:
            raise Rejected(Reason.BAD_NAME, error.problem, file=error.file, field="name") from None
        if not file.addressable:
            problem = "the name of its folder is not UTF-8, or too long"
            raise Rejected(Reason.BAD_NAME, problem, file=file.uri, field="name", remedy="rename the folder.")
        checked, header = validate(
            path, expected=expected, full=self.full, gates=self.gates, waived=self.quarantine.waived
        )
        arrival = Arrival(header, file.uri, checked.size, checked.sha256, file.version)
        self.arrivals.append((file, arrival))

    def _refuse(
        self, file: LandedFile, path: Path, rejected: Rejected, outcome: Outcome, reported: list[Refused]
    ) -> None:
        # Bytes first, log after: a crash in between repeats the refusal, it does not lose the bytes.
        record = self.quarantine.put(path, rejected, uri=file.uri, name=file.name)
        self.refused.append(
            Delivery(
                file.name,
                file.uri,
                file.size,
                file.version,
                outcome,
                sha256=record.sha256,
                reason=record.reason,
                message=record.message,
            )
        )
        reported.append(Refused(file.name, record.reason, record.message))

    def flush(self) -> None:
        """Register the batch in one transaction, then log what was refused."""
        arrivals, self.arrivals = self.arrivals, []
        outcomes = self.registry.register([arrival for _, arrival in arrivals], self.calendar)
        for (file, arrival), outcome in zip(arrivals, outcomes, strict=True):
            if outcome is Outcome.CONFLICT:
                self._conflict(file, arrival)
            else:
                self._report(arrival, outcome)
        refused, self.refused = self.refused, []
        if refused:
            self.registry.log(refused)

    def _conflict(self, file: LandedFile, arrival: Arrival) -> None:
        rejected = Rejected(
            Reason.CONFLICT,
            f"{arrival.header.exposure_id} is registered with other bytes",
            file=file.uri,
            field="sha256",
        )
        overruled = False
        with self._tried_again(file):
            overruled = Reason.CONFLICT in self.quarantine.waived(arrival.sha256)
            if not overruled:
                with self.landing.fetch(file) as path:
                    self._refuse(file, path, rejected, Outcome.CONFLICT, self.report.conflicts)
        if overruled:
            for outcome in self.registry.register([replace(arrival, replace=True)], self.calendar):
                self._report(arrival, outcome)

    def _report(self, arrival: Arrival, outcome: Outcome) -> None:
        header, report = arrival.header, self.report
        if outcome is Outcome.DUPLICATE:
            report.duplicates.append(header.exposure_id)
            return
        (report.replaced if outcome is Outcome.REPLACED else report.registered).append(header.exposure_id)
        if header.caveats:
            report.caveats[header.exposure_id] = header.caveats
        place = place_of(self.calendar, header.day, header.detector, header.kind, header.ra_center, header.dec_center)
        if not place["inside_calendar"]:
            report.outside_calendar.append(header.exposure_id)
