"""A release: wheel, image, bill of materials and changelog section, all under the version of pyproject.toml.

    python deploy/release/release.py            what `make release` runs; into dist/VERSION
    python deploy/release/release.py --check    only says whether a release could be made
    python deploy/release/release.py --collect  puts changelog.d into CHANGELOG.md, to be committed before a release

Refuses a dirty tree and versions that differ. IMAGE_BUILD is the command that builds an image from `TAG CONTEXT`
(default: podman, buildah or docker, whichever is there); without any, the release has no image and its bill of
materials is that of the Python environment, and both are said.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILDERS = {
    "podman": ["podman", "build", "-t"],
    "docker": ["docker", "build", "-t"],
    "buildah": ["buildah", "bud", "-t"],
}


def project_version(root: Path) -> str:
    """The version of pyproject.toml, which all others follow."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def problems(root: Path) -> list[str]:
    """Why no release can be made of this tree; empty if one can."""
    version = project_version(root)
    found = []
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if changed:
        found.append(f"the tree is dirty ({len(changed)} files, {changed[0].strip()} first): commit or remove them")
    said = re.search(r'^__version__ = "([^"]+)"', (root / "roman_assets" / "__init__.py").read_text(), re.MULTILINE)
    named = {"roman_assets/__init__.py": said.group(1) if said else "none"}
    for path in sorted([*root.glob("helm_values/**/*.yaml"), *root.glob("deploy/example/*.yaml")]):
        for match in re.finditer(r"roman-assets[^\n]*?(?:\n\s+tag:|newTag:)\s*\"?([\w.+-]+)", path.read_text()):
            named[str(path.relative_to(root))] = match.group(1)
    found += [
        f"{path} has version {other}, pyproject.toml {version}" for path, other in named.items() if other != version
    ]
    try:
        changelog_section(collected((root / "CHANGELOG.md").read_text(), fragments(root), version), version)
    except ValueError as error:
        found.append(str(error))
    return found


def fragments(root: Path) -> dict[Path, str]:
    """Texts of changelog.d, one a change, by their files."""
    found = sorted(path for path in (root / "changelog.d").glob("*.md") if path.name != "README.md")
    return {path: path.read_text().strip() for path in found}


def collected(text: str, changes: Mapping[Path, str], version: str) -> str:
    """A changelog whose section of a version has all that is unreleased: the changes, then the section Unreleased."""
    items = "\n".join("- " + change.replace("\n", "\n  ") for change in changes.values())
    unreleased = re.search(r"^## Unreleased[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    added = "\n\n".join(part for part in (items, unreleased[1].strip() if unreleased else "") if part)
    if unreleased:
        text = text[: unreleased.start()] + text[unreleased.end() :]
    if not added:
        return text
    section = re.search(rf"^## {re.escape(version)}(?![\w.])[^\n]*\n", text, re.MULTILINE)
    if section:
        return f"{text[: section.end()]}\n{added}\n\n{text[section.end() :].lstrip()}"
    first = re.search(r"^## ", text, re.MULTILINE)
    place = first.start() if first else len(text)
    return f"{text[:place]}## {version}\n\n{added}\n\n{text[place:]}"


def collect(root: Path) -> int:
    """Writes what is unreleased into CHANGELOG.md and removes the fragments; returns how many there were."""
    changes, path = fragments(root), root / "CHANGELOG.md"
    path.write_text(collected(path.read_text(), changes, project_version(root)))
    for fragment in changes:
        fragment.unlink()
    return len(changes)


def changelog_section(text: str, version: str) -> str:
    """What a changelog says of a version; ValueError if it says nothing."""
    match = re.search(rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if match is None or not match.group(1).strip():
        raise ValueError(f"CHANGELOG.md has no section of version {version}")
    return f"## {version}\n\n{match.group(1).strip()}\n"


def builder() -> list[str] | None:
    """The command that builds an image, before its tag and context; None where there is none."""
    given = os.environ.get("IMAGE_BUILD")
    if given is not None:
        return shlex.split(given) or None
    return next((command for name, command in BUILDERS.items() if shutil.which(name)), None)


def release(root: Path, image: str) -> Path:
    """Makes everything; returns its folder."""
    version = project_version(root)
    out = root / "dist" / version
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    changelog = collected((root / "CHANGELOG.md").read_text(), fragments(root), version)
    (out / "CHANGELOG.md").write_text(changelog_section(changelog, version))
    command = builder()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        environment = {
            **os.environ,
            "PIP_CONSTRAINT": str(root / "constraints.txt"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            # The same bytes wherever and whenever the commit is built.
            "SOURCE_DATE_EPOCH": str(export(root, source)),
            "CFLAGS": f"{os.environ.get('CFLAGS', '')} -ffile-prefix-map={source}=.",
        }
        wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(out), str(source)]
        subprocess.run(wheel, check=True, env=environment)
        if command is not None:
            subprocess.run([*command, image, str(source)], check=True, stdout=subprocess.DEVNULL)
        else:
            print("no podman, docker or buildah (or an empty IMAGE_BUILD): this release has no image")
    sbom(root, image if command is not None else None, out / "sbom.cdx.json")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sorted(out.iterdir())]
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return out


def export(root: Path, folder: Path) -> int:
    """The committed tree, into a new folder; returns the commit's time, in seconds.

    Of the working tree, setuptools would take from build/ what has since been deleted.
    """
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    time = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(time, cwd=root, capture_output=True, text=True, check=True).stdout)


def sbom(root: Path, image: str | None, out: Path) -> None:
    """The bill of materials of an image of the local store, or of this Python's environment."""
    program = [sys.executable, str(Path(__file__).with_name("sbom.py")), "--version", project_version(root)]
    program += ["--out", str(out)]
    if image is None:
        subprocess.run([*program, "--environment", sys.prefix], check=True)
        return
    tool = next((name for name in ("podman", "docker") if shutil.which(name)), None)
    if tool is None:
        raise SystemExit("neither podman nor docker: the image cannot be looked into")
    made = subprocess.run([tool, "create", image], check=True, capture_output=True, text=True)
    container = made.stdout.strip().splitlines()[-1]
    try:
        with subprocess.Popen([tool, "export", container], stdout=subprocess.PIPE) as exporting:
            subprocess.run([*program, "--tar", "-"], stdin=exporting.stdout, check=True)
    finally:
        subprocess.run([tool, "rm", container], check=True, stdout=subprocess.DEVNULL)


def has_image(image: str) -> bool:
    """Whether the local store has an image."""
    tool = next((name for name in ("podman", "docker") if shutil.which(name)), None)
    return tool is not None and subprocess.run([tool, "image", "inspect", image], capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="tag of the image (default roman-assets:VERSION)")
    parser.add_argument("--check", action="store_true", help="only say whether a release can be made")
    parser.add_argument("--collect", action="store_true", help="put changelog.d into the section of the version")
    parser.add_argument("--sbom", type=Path, help="only write the bill of materials there")
    given = parser.parse_args()
    image = given.image or f"roman-assets:{project_version(ROOT)}"
    if given.sbom:
        there = has_image(image)
        if not there:
            print(f"no image {image} in the local store: the bill of materials is that of {sys.prefix}")
        sbom(ROOT, image if there else None, given.sbom)
        return
    if given.collect:
        print(f"{collect(ROOT)} changes are in CHANGELOG.md's section {project_version(ROOT)} now: read and commit it")
        return
    found = problems(ROOT)
    for problem in found:
        print(f"cannot release: {problem}")
    if found:
        raise SystemExit(1)
    if given.check:
        print(f"version {project_version(ROOT)} can be released")
        return
    print(release(ROOT, image).relative_to(ROOT))


if __name__ == "__main__":
    main()
