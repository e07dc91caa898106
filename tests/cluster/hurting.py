"""Hurting runs on the cluster while their steps work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.cluster.platform import OP, RUN_ID, Platform, fill_memory, kill_container, kubectl, wait_until


def hurt_each_run(platform: Platform, before: set[str], seconds: float) -> Iterator[tuple[str, str]]:
    """Hurts the next four runs, each while a step of its works; yields fault and run."""
    faults = ["oom", "run pod deleted", "step killed", "run killed"]
    seen = set(before)
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor() as pool:  # filling a memory takes a while, and the other steps do not wait
        pending = []
        while faults:
            assert time.monotonic() < deadline, f"no run to hurt for {faults}"
            for op in ("psf_photometry", "daily_light_curves"):
                for pod in platform.pods(op=op, phase="Running"):
                    run_id = pod.metadata.labels[RUN_ID]
                    if run_id not in seen and faults:
                        seen.add(run_id)
                        fault = faults.pop(0)
                        pending.append((fault, run_id, pool.submit(_hurt, platform, fault, pod, run_id)))
            time.sleep(0.2)
        for fault, run_id, hurting in pending:
            hurting.result()
            yield fault, run_id


def _hurt(platform: Platform, fault: str, step: Any, run_id: str) -> None:
    (worker,) = (p for p in platform.pods(run_id=run_id, phase="Running") if OP not in p.metadata.labels)
    if fault == "oom":
        fill_memory(step)
        assert _end_of(step.metadata.name) == "OOMKilled 137"
    elif fault == "run pod deleted":
        kubectl("delete", "pod", worker.metadata.name, "--wait=false")
    else:
        kill_container(step if fault == "step killed" else worker)


def _end_of(pod: str) -> str:
    """Why a pod's container ended, and its exit code."""
    state = "{.status.containerStatuses[0].state.terminated"
    path = f"jsonpath={state}.reason}} {state}.exitCode}}"
    return str(wait_until(f"{pod} ended", lambda: kubectl("get", "pod", pod, "-o", path, check=False).strip(), 60))
