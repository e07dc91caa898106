"""What a backfill asks of a running instance."""

from __future__ import annotations

from typing import Any

import pytest

from roman_assets.orchestration.backfill import launch


def test_only_missing_asks_once_an_asset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was once a key: 341,000 requests for the keys of the whole survey."""
    keys = [f"2027-03-{day:02d}|WFI{detector:02d}" for day in range(1, 29) for detector in range(1, 19)]
    asked: list[str] = []

    def answer(_url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "partitions" in variables:
            asked.append(variables["key"]["path"][0])
            states = [None if key == keys[7] else {"timestamp": "1"} for key in variables["partitions"]]
            return {"assetNodeOrError": {"__typename": "AssetNode", "latestMaterializationByPartition": states}}
        assert variables["params"]["partitionNames"] == [keys[7]]
        return {"launchPartitionBackfill": {"__typename": "LaunchBackfillSuccess", "backfillId": "b"}}

    monkeypatch.setattr("roman_assets.orchestration.backfill._ask", answer)
    assets = ["exposures", "psf_photometry", "daily_light_curves"]
    assert launch("http://nowhere", assets, keys, only_missing=True).partitions == 1
    assert asked == assets
