"""Fuzz targets of the readers in Python: bytes become a file, and only an error made on purpose may come out.

Run by run.py in an environment that has atheris: ``readers.py TARGET FINDINGS [libFuzzer options]``. What is found is
written into the folder FINDINGS, once for every place in the code, and the fuzzer goes on.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

Target = Callable[[Path, bytes], None]


def _ingest(file: Path, data: bytes) -> None:
    """A whole file that arrives: header alone, then everything."""
    from roman_assets.exposures.level2.reader import read_header, validate

    file.write_bytes(data)
    for read in (read_header, lambda path: validate(path, full=True)):
        try:
            read(file)
        except _refusal():
            continue


def _ingest_tree(file: Path, data: bytes) -> None:
    """A tree as it comes from the fuzzer, with blocks that are right: what guards of the bytes do not stop."""
    from dataclasses import replace

    from roman_assets.exposures.level2.reader import validate
    from tests.fuzz.seeds import level2_parts

    file.write_bytes(replace(level2_parts(), tree=data).bytes)
    validate(file, full=True)


def _light_curves(suffix: str) -> Target:
    def target(file: Path, data: bytes) -> None:
        from roman_assets.systems.msos.events.light_curve_files import read_light_curves

        named = file.with_suffix(suffix)
        named.write_bytes(data)
        read_light_curves(named)

    return target


def _spectra(suffix: str) -> Target:
    def target(file: Path, data: bytes) -> None:
        from roman_assets.systems.gdps.spectra.files import read_spectra

        named = file.with_suffix(suffix)
        named.write_bytes(data)
        read_spectra(named, units={"wavelength": "nm", "flux": "W m-2 nm-1"})

    return target


TARGETS: dict[str, Target] = {
    "asdf_file": _ingest,
    "asdf_tree": _ingest_tree,
    "light_curves_text": _light_curves(".csv"),
    "light_curves_ipac": _light_curves(".tbl"),
    "light_curves_parquet": _light_curves(".parquet"),
    "spectra_fits": _spectra(".fits"),
    "spectra_parquet": _spectra(".parquet"),
}


def _refusal() -> type[Exception]:
    from roman_assets.errors import InputError

    return InputError


class Findings:
    """What came out that was no refusal: one file for every place, with the input beside it."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder, self.target = folder, target
        folder.mkdir(parents=True, exist_ok=True)

    def note(self, error: BaseException, data: bytes) -> None:
        places = traceback.extract_tb(error.__traceback__)
        ours = [p for p in places if "roman_assets" in p.filename] or places
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        name = hashlib.sha256(f"{type(error).__name__} {where}".encode()).hexdigest()[:12]
        report = self.folder / f"{self.target}-{name}.json"
        if report.exists():
            return
        (self.folder / f"{self.target}-{name}.bin").write_bytes(data)
        text = "".join(traceback.format_exception(error))[-4000:]
        report.write_text(json.dumps({"error": f"{type(error).__name__} at {where}", "text": text}))


def main() -> None:
    """Fuzz one target until libFuzzer's time is over."""
    import atheris

    target, folder, *options = sys.argv[1:]
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=["roman_assets"]):
        for module in (
            "roman_assets.exposures.level2.reader",
            "roman_assets.systems.gdps.spectra.files",
            "roman_assets.systems.msos.events.light_curve_files",
        ):
            importlib.import_module(module)
    run, findings, refusal = TARGETS[target], Findings(Path(folder), target), _refusal()
    scratch = Path(tempfile.mkdtemp(prefix="roman_fuzz_")) / "r0000201001001001001_0001_wfi01_f146_cal.asdf"

    def one(data: bytes) -> None:
        try:
            run(scratch, data)
        except refusal:
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            findings.note(error, data)

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
