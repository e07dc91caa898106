"""`python -m tests.cluster.embedded HOME FILES...`: what the cluster does, in one process and one folder."""

import sys
from pathlib import Path

from roman_assets.exposures.ingest import ingest
from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.platform.workspace import Workspace

if __name__ == "__main__":
    workspace = Workspace(Path(sys.argv[1]))
    ingest([Path(name) for name in sys.argv[2:]], workspace.registry, workspace.quarantine, workspace.calendar)
    failed = run_steps(workspace, [step for step in plan(workspace) if step.job != "measure_efficiency"]).failed
    sys.exit(f"{failed}" if failed else 0)
