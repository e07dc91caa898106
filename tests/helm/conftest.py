"""Each environment in turn."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.files import ENVIRONMENTS, kustomized, merged


@pytest.fixture(params=ENVIRONMENTS)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Values of an environment."""
    return merged(request.param)


@pytest.fixture(params=ENVIRONMENTS)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What goes beside the chart in an environment."""
    return kustomized(f"helm_values/manifests/{request.param}")
