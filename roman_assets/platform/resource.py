"""The workspace as a Dagster resource."""

from __future__ import annotations

from dataclasses import fields

import dagster as dg
from pydantic import PrivateAttr

from roman_assets.platform.workspace import VARIABLES, Workspace


class WorkspaceResource(dg.ConfigurableResource[Workspace]):
    """Places of the installation; empty fields come from the environment when a run starts.

    `home` and the rest are those of platform/workspace.py.
    """

    home: str = ""
    calendar_path: str = ""
    products_root: str = ""
    index_url: str = ""
    registry_url: str = ""
    landing_root: str = ""
    quarantine_root: str = ""
    epsf_folder: str = ""
    _workspace: Workspace | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, workspace: Workspace) -> WorkspaceResource:
        """The resource of a given workspace."""
        values = {f.name: getattr(workspace, f.name) for f in fields(Workspace)}
        return cls(**{name: "" if value is None else str(value) for name, value in values.items()})

    def get(self) -> Workspace:
        """The workspace, opened once per process."""
        if self._workspace is None:
            environment = Workspace.from_environment()
            from pathlib import Path

            home = Path(self.home) if self.home else environment.home
            chosen = {name: getattr(self, name) or getattr(environment, name) for name in VARIABLES}
            self._workspace = Workspace(home, **chosen)
        return self._workspace
