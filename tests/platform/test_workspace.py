"""The installation's settings that are no places."""

from __future__ import annotations

from pathlib import Path

import pytest

from roman_assets.errors import InputError
from roman_assets.platform.resource import WorkspaceResource
from roman_assets.platform.workspace import Workspace


def test_processing_id_comes_from_the_environment_and_goes_on(tmp_path: Path) -> None:
    home = {"ROMAN_HOME": str(tmp_path)}
    assert Workspace.from_environment(home).processing_release == "r01"
    place = Workspace.from_environment({**home, "ROMAN_PROCESSING_ID": "r12"})
    assert place.processing_release == "r12"
    assert Workspace.from_environment(place.environment()) == place
    assert WorkspaceResource.of(place).get() == place


@pytest.mark.parametrize("text", ["r1", "R01", "r001", "01", "r0x", "r01\n", "r٠١"])
def test_a_processing_id_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        Workspace.from_environment({"ROMAN_HOME": str(tmp_path), "ROMAN_PROCESSING_ID": text})
    assert caught.value.field == "ROMAN_PROCESSING_ID"
    assert caught.value.remedy
