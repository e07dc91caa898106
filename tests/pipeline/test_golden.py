"""Guards the code versions: a change of results without a new version would make re-running a silent lie.

The figures are medians and counts of the simulated survey, loose enough for other versions of numpy and other
processors, tight enough for a change of method. After a deliberate change: raise the asset's version in
systems/msos/stages/common.py and write the file anew with `ROMAN_WRITE_GOLDEN=1 pytest tests/pipeline/test_golden.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest

from roman_assets.systems.msos.stages.common import CODE
from tests.mini_survey import Processed

GOLDEN = Path(__file__).with_name("golden.json")

#: One worker, so that the survey is processed once.
pytestmark = pytest.mark.xdist_group("processed")


def _figures(processed: Processed) -> dict[str, dict[str, float]]:
    products = processed.workspace.products

    def table(kind: str) -> pl.DataFrame:
        return pl.concat([products.read_table(r) for r in products.current(kind)], how="diagonal_relaxed")

    catalogue, photometry = table("reference_catalog"), table("psf_photometry_part")
    daily, objects = table("daily_light_curves_part"), table("season_objects")
    events = table("season_events").filter(pl.col("event_class") == "single_lens").sort("t0")
    bright = catalogue.filter(pl.col("mag") < 22)
    good = photometry.filter(pl.col("flag") == 0)
    return {
        "reference_catalog": {
            "stars": catalogue.height,
            "bright_flux": _median(bright["flux"]),
            "x": _median(bright["x"]),
        },
        "psf_photometry": {"rows": photometry.height, "flux": _median(good["flux"]), "err": _median(good["flux_err"])},
        "daily_light_curves": {"rows": daily.height, "flux": _median(daily.filter(pl.col("flag") == 0)["flux"])},
        "season_objects": {"rows": objects.height, "mag": _median(objects["mag"].drop_nans())},
        "season_events": {"lenses": events.height, "t0": float(events["t0"].sum()), "te": float(events["te"].sum())},
    }


def _median(values: pl.Series) -> float:
    found = values.cast(pl.Float64).median()
    assert isinstance(found, float)
    return found


def test_results_belong_to_their_code_versions(processed: Processed) -> None:
    figures = _figures(processed)
    written = {asset: {"code": CODE[asset], **values} for asset, values in figures.items()}
    if os.environ.get("ROMAN_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == written.keys()
    for asset, expected in golden.items():
        assert CODE[asset] == expected["code"], f"{asset} has a new code version: write the golden file anew"
        for name, value in expected.items():
            if name != "code":
                assert written[asset][name] == pytest.approx(value, rel=5e-3), (
                    f"{asset} {name} changed: raise its code version and write the golden file anew"
                )
