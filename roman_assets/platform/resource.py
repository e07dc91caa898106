"""The workspace as a Dagster resource."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from roman_assets.platform.workspace import HOME, VARIABLES, Workspace


class WorkspaceResource(dg.ConfigurableResource[Workspace]):
    """Places of the installation, as in platform/workspace.py; without `home` all come from the environment."""

    home: str = ""
    calendar_path: str = ""
    products_root: str = ""
    index_url: str = ""
    registry_url: str = ""
    landing_root: str = ""
    quarantine_root: str = ""
    epsf_folder: str = ""
    reference_folder: str = ""
    sources: str = ""
    processing_id: str = ""
    _workspace: Workspace | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, workspace: Workspace) -> WorkspaceResource:
        """The resource of a given workspace."""
        values = {f.name: getattr(workspace, f.name) for f in fields(Workspace)}
        return cls(**{name: "" if value is None else str(value) for name, value in values.items()})

    @classmethod
    def by_environment(cls) -> WorkspaceResource:
        """The resource of a deployment: every place that the environment names, by its variable, so that the UI shows
        where things are and shows no password.
        """
        named = {"home": HOME, **VARIABLES}
        return cls(**{name: dg.EnvVar(variable) for name, variable in named.items() if os.environ.get(variable)})

    def get(self) -> Workspace:
        """The workspace, opened once per process."""
        if self._workspace is None:
            if self.home:  # given as a whole: what it leaves out is inside its home, whatever the environment says
                self._workspace = Workspace(Path(self.home), **{n: getattr(self, n) or None for n in VARIABLES})
            else:
                self._workspace = Workspace.from_environment()
        return self._workspace
