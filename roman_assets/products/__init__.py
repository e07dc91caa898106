"""Products: schemas, identities, bytes, the index, archive metadata and HATS catalogues."""

from roman_assets.products.identity import Identity
from roman_assets.products.products import Products
from roman_assets.products.records import IdentityConflictWarning, Incident, ProductRecord
from roman_assets.storage.store import StoreError

__all__ = ["Identity", "IdentityConflictWarning", "Incident", "ProductRecord", "Products", "StoreError"]
