"""The registry while its PostgreSQL is restarted: nothing raised, nothing lost, nothing doubled."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from roman_assets.exposures.records import Arrival, Outcome
from roman_assets.exposures.registry import Registry
from roman_assets.storage.database import DatabaseUnavailable
from roman_assets.storage.retry import ATTEMPTS, FIRST_PAUSE_S
from tests.exposures.test_registry import CALENDAR, arrival
from tests.postgresql import Server, own_postgresql_server

#: Fast twice: once with and once without what an immediate one leaves to be recovered.
RESTARTS = (signal.SIGINT, signal.SIGQUIT, signal.SIGINT)
BETWEEN_S = 0.7
#: What the database layer waits at least before it gives up; a slower restart of a busy machine may get through to whoever
#: calls, who does it again.
PATIENCE_S = 0.5 * FIRST_PAUSE_S * (2 ** (ATTEMPTS - 1) - 1)
WRITERS = ("WFI01", "WFI02", "WFI03")
SHARED = "WFI04"


class Campaign:
    """Threads that use the registry in loops until they are told to stop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stopped = threading.Event()
        self.errors: list[BaseException] = []
        self.gave_up = 0
        self.registered: Counter[str] = Counter()
        self.lock = threading.Lock()

    def insist(self, work: Callable[[], object]) -> object:
        """Does what a step does that is tried again."""
        while True:
            try:
                return work()
            except DatabaseUnavailable:
                with self.lock:
                    self.gave_up += 1

    def write(self, registry: Registry, detector: str) -> None:
        """Registers exposures of one's own, and one that all writers have."""
        visit = 0
        while not self.stopped.is_set():
            visit += 1
            batch: list[Arrival] = [arrival(3 * visit + k, detector=detector) for k in range(3)]
            batch.append(arrival(visit, detector=SHARED))
            outcomes = self.insist(lambda batch=batch: registry.register(batch))
            assert isinstance(outcomes, list)
            for one, outcome in zip(batch, outcomes, strict=True):
                if outcome is Outcome.REGISTERED:
                    with self.lock:
                        self.registered[one.header.exposure_id] += 1
            time.sleep(0.01)

    def follow(self, registry: Registry) -> None:
        """Reads what changed, as the sensors do."""
        cursor = 0
        while not self.stopped.is_set():
            changes = self.insist(lambda cursor=cursor: registry.changes_since(cursor))
            assert isinstance(changes, list)
            cursor = max([cursor, *(change.change for change in changes)])
            self.insist(registry.counts)
            time.sleep(0.01)

    def guarded(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)

        return threading.Thread(target=run)


def test_registering_goes_on_while_the_database_is_restarted() -> None:
    with own_postgresql_server() as server:
        campaign = Campaign(server)
        shared, own = Registry(server.url, CALENDAR), Registry(server.url, CALENDAR)
        threads = [
            campaign.guarded(lambda: campaign.write(shared, WRITERS[0])),
            campaign.guarded(lambda: campaign.write(shared, WRITERS[1])),
            campaign.guarded(lambda: campaign.write(own, WRITERS[2])),
            campaign.guarded(lambda: campaign.follow(own)),
        ]
        for thread in threads:
            thread.start()
        reached = []
        for number in RESTARTS:
            time.sleep(BETWEEN_S)
            reached.append(len(campaign.registered))
            server.restart(number)
        time.sleep(BETWEEN_S)
        campaign.stopped.set()
        for thread in threads:
            thread.join(60)
        assert campaign.errors == []
        assert campaign.gave_up == 0 or max(server.outages) > PATIENCE_S, server.outages
        assert all(
            before < after for before, after in zip(reached, [*reached[1:], len(campaign.registered)], strict=True)
        )

        found = own.exposures()
        wanted = {f"{d}{n}" for d, n in _numbers(campaign.registered)}
        assert {f"{e.detector}{e.exposure_id}" for e in found} >= wanted
        if campaign.gave_up == 0:
            assert {e.exposure_id for e in found} == set(campaign.registered), "registered, and told so once"
            assert set(campaign.registered.values()) == {1}
            registered = [d for d in own.deliveries("registered") if SHARED.lower() not in d.uri]
            assert len(registered) == sum(e.detector != SHARED for e in found)
        _no_gaps(found, own.last_change())
        shared.close()
        own.close()


def _numbers(registered: Counter[str]) -> list[tuple[str, str]]:
    return [(name.split("_")[2].upper(), name) for name in registered]


def _no_gaps(found: list, last: int) -> None:
    """Every exposure is there once, its writer's visits without a gap, and change numbers are 1, 2, 3..."""
    assert len({e.exposure_id for e in found}) == len(found)
    assert sorted(e.change for e in found) == list(range(1, len(found) + 1))
    assert last == len(found)
    for detector in (*WRITERS, SHARED):
        visits = sorted(int(e.exposure_id[17:].split("_")[0]) for e in found if e.detector == detector)
        assert visits == list(range(visits[0], visits[0] + len(visits)))
