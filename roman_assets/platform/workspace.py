"""Where everything of one installation lives: one object, made from the environment, the same in every process.

Embedded default: all of it in one folder (ROMAN_HOME). Production sets the URLs one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from roman_assets.errors import InputError

if TYPE_CHECKING:
    from roman_assets.exposures.landing import Landing
    from roman_assets.exposures.quarantine import Quarantine
    from roman_assets.exposures.registry import Registry
    from roman_assets.products.index import Index
    from roman_assets.products.products import Products
    from roman_assets.survey.calendar import Calendar

HOME = "ROMAN_HOME"
VARIABLES = {
    "calendar_path": "ROMAN_CALENDAR",
    "products_root": "ROMAN_PRODUCTS",
    "index_url": "ROMAN_INDEX_URL",
    "registry_url": "ROMAN_REGISTRY_URL",
    "landing_root": "ROMAN_LANDING",
    "quarantine_root": "ROMAN_QUARANTINE",
    "epsf_folder": "ROMAN_EPSF",
    "reference_folder": "ROMAN_REFERENCE_DIR",
    "sources": "ROMAN_SOURCES",
    "processing_id": "ROMAN_PROCESSING_ID",
}
#: As the archive's schemas write a processing release (`r03`); what it is called where nothing says.
PROCESSING_ID = re.compile(r"[a-z][0-9]{2}")
FIRST_PROCESSING = "r01"


@dataclass(frozen=True)
class Workspace:
    """Places of one installation; None means inside `home`.

    Attributes
    ----------
    calendar_path
        Calendar file; None: `home`/calendar.toml if it exists, else the shipped survey.
    products_root, index_url
        Folder or s3://bucket/prefix, and SQLAlchemy URL of the product index.
    registry_url
        SQLAlchemy URL of the exposure registry.
    landing_root, quarantine_root
        Folder or s3://bucket/prefix.
    epsf_folder
        Folder of rad ``epsf`` reference files named *_<detector>_<element>*.asdf; None: ePSFs are built from
        the exposures.
    reference_folder
        Folder of optical models and effective areas of the grism and the prism; None: the nominal ones.
    sources
        Folder of source catalogues (Parquet) of the direct images, or one; None: `home`/sources, if it exists.
    processing_id
        Processing release that archive records name, a letter and two digits; None: `r01`. It is in no product's bytes
        or identity: products that are made from then on carry it.

    Raises
    ------
    InputError
        A processing_id that is none.
    """

    home: Path
    calendar_path: str | None = None
    products_root: str | None = None
    index_url: str | None = None
    registry_url: str | None = None
    landing_root: str | None = None
    quarantine_root: str | None = None
    epsf_folder: str | None = None
    reference_folder: str | None = None
    sources: str | None = None
    processing_id: str | None = None

    def __post_init__(self) -> None:
        if self.processing_id is not None and not PROCESSING_ID.fullmatch(self.processing_id):
            raise InputError(
                f"{self.processing_id[:20]!r} is no processing release",
                field=VARIABLES["processing_id"],
                remedy=f"give a letter and two digits, such as {FIRST_PROCESSING}",
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Workspace:
        """The workspace of ROMAN_HOME (default ./roman_home) and the variables above."""
        env = os.environ if environment is None else environment
        home = Path(env.get(HOME) or "roman_home").expanduser().resolve()
        return cls(home, **{name: env.get(variable) or None for name, variable in VARIABLES.items()})

    def environment(self) -> dict[str, str]:
        """Variables that make another process see the same workspace."""
        named = {variable: getattr(self, name) for name, variable in VARIABLES.items()}
        result = {HOME: str(self.home), **{k: v for k, v in named.items() if v}}
        if self.calendar_file is not None:
            result["ROMAN_CALENDAR"] = str(self.calendar_file)
        return result

    @property
    def processing_release(self) -> str:
        """Processing release of what is made here."""
        return self.processing_id or FIRST_PROCESSING

    @property
    def calendar_file(self) -> Path | None:
        """The calendar's file; None for the shipped one."""
        if self.calendar_path:
            return Path(self.calendar_path)
        own = self.home / "calendar.toml"
        return own if own.exists() else None

    @property
    def sources_path(self) -> Path | None:
        """Where the source catalogues are; None if there are none."""
        if self.sources:
            return Path(self.sources)
        own = self.home / "sources"
        return own if own.is_dir() else None

    def given_folder(self, name: str) -> Path | None:
        """A folder of reference files that the installation names (`epsf_folder`, `reference_folder`); None if it does not.

        Raises
        ------
        Unavailable
            It is not there, or empty: a disk that is not mounted. What would stand in for its files would be frozen into
            products.
        """
        value = getattr(self, name)
        if not value:
            return None
        from roman_assets.storage.base import Unavailable

        folder = Path(value)
        if not folder.is_dir() or next(folder.iterdir(), None) is None:
            remedy = "mount it, or put the reference files there"
            raise Unavailable("there are no reference files", file=folder, field=VARIABLES[name], remedy=remedy)
        return folder

    @property
    def dagster_home(self) -> Path:
        """Dagster's storage."""
        return Path(os.environ.get("DAGSTER_HOME") or self.home / "dagster")

    @cached_property
    def calendar(self) -> Calendar:
        """The survey calendar."""
        from roman_assets.survey.calendar import load_calendar

        return load_calendar(self.calendar_file)

    @cached_property
    def registry(self) -> Registry:
        """The exposure registry."""
        from roman_assets.exposures.registry import Registry

        return Registry(self.registry_url or self._sqlite("registry"), self.calendar)

    @cached_property
    def products(self) -> Products:
        """The products and their index."""
        from roman_assets.products.products import Products

        root = self.products_root or str(self.home / "products")
        return Products(root, self.index_url)

    @cached_property
    def index(self) -> Index:
        """The products' index alone, for those who read no product: without the libraries of tables and images."""
        from roman_assets.products.index import Index

        return Index(self.index_url) if self.index_url else self.products.index

    @property
    def landing(self) -> Landing:
        """The landing place; an embedded one is created when first asked for."""
        from roman_assets.exposures.landing import Landing

        if self.landing_root is None:
            (self.home / "landing").mkdir(parents=True, exist_ok=True)
        return Landing(self.landing_root or str(self.home / "landing"))

    @property
    def quarantine(self) -> Quarantine:
        """The quarantine."""
        from roman_assets.exposures.quarantine import Quarantine

        return Quarantine(self.quarantine_root or str(self.home / "quarantine"))

    def _sqlite(self, name: str) -> str:
        self.home.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{self.home / f'{name}.sqlite'}"
