"""Runs whose process was killed: nobody else would ever say that they have ended, nor give back their places in pools."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg

#: Tag of a run: the process that executes it.
PROCESS_TAG = "roman/process"
#: How often a step that runs looks for runs that died meanwhile [s].
LOOK_S = 10.0


def this_process() -> str:
    """The tag of runs that this process executes."""
    return process_tag(os.getpid())


def process_tag(pid: int) -> str:
    """Host, number and start of a process of this host: a later one of the same number is another one."""
    return f"{socket.gethostname()}:{pid}:{_started(pid)}"


def bury_the_dead(instance: dg.DagsterInstance) -> None:
    """Ends the runs of processes of this host that were killed, and frees the places in pools of runs that have ended.

    A killed run keeps its places: two of them would fill a pool of two, and every later step would wait without end.
    """
    going = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=going)):
        host, *process = run.tags.get(PROCESS_TAG, "::").rsplit(":", 2)
        if host != socket.gethostname():
            continue
        number, started = process
        if _started(int(number)) != started:
            instance.report_run_failed(run, "the process of this run was killed; run `roman process` again")
    log = instance.event_log_storage
    if not log.supports_global_concurrency_limits:
        return
    for run_id in log.get_concurrency_run_ids():
        held = instance.get_run_by_id(run_id)
        if held is None or held.is_finished:
            log.free_concurrency_slots_for_run(run_id)


def _started(pid: int) -> str:
    """When a process began, as its system counts; empty if there is none (or one that only waits to be buried), or the
    system does not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[19] if fields[0] not in "ZX" else ""
    except (OSError, IndexError):
        return ""
