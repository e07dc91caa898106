"""ASDF files with the same bytes for the same tree, in any process."""

from __future__ import annotations

from typing import Any, BinaryIO


def write_asdf(target: BinaryIO, tree: dict[str, Any], *, compression: str | None = "lz4") -> None:
    """Writes `tree` to a binary stream open for writing.

    asdf lists the extensions it used in the order of a set of objects, which changes from process to
    process: here they are sorted. The file names the versions of the libraries that wrote it and nothing
    else of the machine.
    """
    import asdf

    class StableAsdfFile(asdf.AsdfFile):  # type: ignore[misc]
        def _update_extension_history(self, tree: Any, serialization_context: Any) -> None:
            super()._update_extension_history(tree, serialization_context)
            tree["history"]["extensions"].sort(
                key=lambda entry: (entry.get("extension_uri") or "", entry.get("extension_class") or "")
            )

    with StableAsdfFile(tree) as file:
        file.write_to(target, all_array_compression=compression)
