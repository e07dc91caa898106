"""Software bill of materials (CycloneDX 1.6, JSON) of the image, or of a Python environment.

    podman export CONTAINER | python deploy/release/sbom.py --version 0.1.0 --tar - --out dist/sbom.cdx.json
    python deploy/release/sbom.py --version 0.1.0 --environment .venv --out dist/sbom.cdx.json

Python distributions come from their own metadata, Debian packages from dpkg's status file. The document is validated
against the schema before it is written, and depends on its contents only: no time, no random number.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

STATUS = "var/lib/dpkg/status"
NAMESPACE = uuid.UUID("6f0e7f64-6d0f-5b0c-9f1b-0a8f6a1c2d3e")
#: Longer texts in a License field are the licence itself, not its name.
LONGEST_NAME = 80


def python_components(site_packages: list[Path]) -> Iterator[Component]:
    """Components of the distributions in folders of packages."""
    for found in distributions(path=[str(folder) for folder in site_packages]):
        name, version = found.metadata["Name"], found.version
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=f"pypi:{name.lower()}@{version}",
            purl=PackageURL("pypi", name=name.lower().replace("_", "-"), version=version),
            description=found.metadata.get("Summary") or None,
            licenses=_licences(found),
        )


def _licences(found: Distribution) -> list[object]:
    factory = LicenseFactory()
    text = found.metadata.get("License-Expression") or (found.metadata.get("License") or "").strip()
    if text and len(text) <= LONGEST_NAME and "\n" not in text:
        return [factory.make_from_string(text)]
    names = [
        c.rpartition("::")[2].strip() for c in found.metadata.get_all("Classifier", []) if c.startswith("License ::")
    ]
    return [factory.make_with_name(name) for name in sorted(set(names))]


def debian_components(status: str) -> Iterator[Component]:
    """Components of the packages that a dpkg status file lists as installed."""
    for stanza in status.split("\n\n"):
        fields = HeaderParser().parsestr(stanza.strip())
        if "installed" not in (fields.get("Status") or "").split():
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        source = (fields.get("Source") or name).split()[0]
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=f"deb:{name}:{architecture}@{version}",
            purl=PackageURL("deb", "debian", name, version, {"arch": architecture, "distro": "debian-12"}),
            description=fields.get("Description", "").splitlines()[0] if fields.get("Description") else None,
            properties=[Property(name="debian:source", value=source)],
        )


def document(version: str, components: list[Component], kind: ComponentType) -> str:
    """The validated document, as JSON."""
    subject = Component(type=kind, name="roman-assets", version=version, bom_ref=f"roman-assets@{version}")
    bom = Bom(components=components)
    bom.metadata.component = subject
    bom.register_dependency(subject, components)
    contents = "\n".join(sorted(str(component.bom_ref.value) for component in components))
    bom.serial_number = uuid.uuid5(NAMESPACE, f"{version}\n{contents}")
    # The document says the same whenever it is made.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise SystemExit(f"the bill of materials is not valid CycloneDX: {problem}")
    return text


def unpack(stream: tarfile.TarFile, folder: Path) -> tuple[list[Path], str]:
    """Metadata of an exported root file system: folders of Python packages, and dpkg's status."""
    sites: set[Path] = set()
    status = ""
    for member in stream:
        path = PurePosixPath(member.name)
        if str(path) == STATUS and (content := stream.extractfile(member)) is not None:
            status = content.read().decode()
        elif path.name == "METADATA" and path.parent.suffix == ".dist-info" and member.isfile():
            content = stream.extractfile(member)
            assert content is not None
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
            sites.add(target.parents[1])
    return sorted(sites), status


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", type=Path, required=True)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--tar", help="an exported root file system; - reads it from standard input")
    where.add_argument("--environment", type=Path, help="a virtual environment")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if given.tar:
            source = {"fileobj": sys.stdin.buffer} if given.tar == "-" else {"name": given.tar}
            with tarfile.open(mode="r|*", **source) as stream:
                sites, status = unpack(stream, Path(scratch))
            if not sites or not status:
                raise SystemExit("no Python packages or no dpkg status in there: is it the root of the image?")
            kind = ComponentType.CONTAINER
        else:
            sites, status = sorted(given.environment.glob("lib/python3*/site-packages")), ""
            if not sites:
                raise SystemExit(f"{given.environment} is no virtual environment")
            kind = ComponentType.APPLICATION
        components = [*python_components(sites), *debian_components(status)]
        text = document(given.version, components, kind)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text + "\n")
    debian = sum(c.purl is not None and c.purl.type == "deb" for c in components)
    print(f"{given.out}: {len(components) - debian} Python distributions, {debian} Debian packages")


if __name__ == "__main__":
    main()
