"""Products: schemas, identities, bytes, the index, archive metadata and HATS catalogues."""

from roman_assets.products.identity import Identity
from roman_assets.products.products import Products
from roman_assets.products.records import IdentityConflictWarning, Incident, ProductRecord

__all__ = ["Identity", "IdentityConflictWarning", "Incident", "ProductRecord", "Products"]
