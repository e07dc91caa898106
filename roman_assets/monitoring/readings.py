"""What one poll reads of the instance, the index and the registry: plain values, no metrics yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from roman_assets.monitoring.freshness import Freshness

Labels = tuple[str, ...]


@dataclass
class Queue:
    """Runs that wait: how many, and since when the oldest does (seconds of 1970; None: none waits)."""

    depth: int = 0
    oldest: float | None = None


@dataclass
class Runs:
    """Runs by (status, group, job): those that go on, and those that ended in the window; ends since the start."""

    now: dict[Labels, int] = field(default_factory=dict)
    ended: dict[Labels, int] = field(default_factory=dict)
    seconds: dict[Labels, float] = field(default_factory=dict)


@dataclass
class Work:
    """Work done and seconds of its steps by (asset, unit), and the rate of the latest step."""

    done: dict[Labels, float] = field(default_factory=dict)
    seconds: dict[Labels, float] = field(default_factory=dict)
    latest: dict[Labels, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sensor:
    """A sensor: running or not, its latest tick (seconds of 1970) with its status, and its failures in a row."""

    name: str
    running: bool
    tick: float | None
    status: str
    failures: int


@dataclass
class Partitions:
    """Partitions of an asset: materialized, and in the calendar; the asset's latest materialization."""

    materialized: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    freshness: list[Freshness] = field(default_factory=list)


@dataclass
class Stored:
    """Products ever made and their bytes by kind, incidents (one identity, two contents), and the caveats of visible
    products by (kind, code).
    """

    products: dict[str, int] = field(default_factory=dict)
    size: dict[str, int] = field(default_factory=dict)
    incidents: int = 0
    caveats: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class Arrived:
    """Registered exposures, and refused files by (outcome, reason)."""

    exposures: int = 0
    refused: dict[Labels, int] = field(default_factory=dict)


@dataclass
class Readings:
    """The latest reading of each part; a part that cannot be read keeps its last one, which gets older."""

    queue: Queue = field(default_factory=Queue)
    runs: Runs = field(default_factory=Runs)
    work: Work = field(default_factory=Work)
    sensors: list[Sensor] = field(default_factory=list)
    heartbeats: dict[str, float] = field(default_factory=dict)
    partitions: Partitions = field(default_factory=Partitions)
    stored: Stored = field(default_factory=Stored)
    arrived: Arrived = field(default_factory=Arrived)
    read_at: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    begun: float = 0.0
    polls: int = 0
    poll_seconds: float = 0.0
