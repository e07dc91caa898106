"""The tools of a release: bill of materials, audit, and what a release refuses."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tool(name: str) -> ModuleType:
    """A module of deploy/release, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "deploy" / "release" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u10
Description: GNU C Library: Shared libraries
 This package contains the standard libraries.

Package: removed-one
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def root_file_system(path: Path) -> Path:
    """A tar such as `podman export` makes: one distribution, one package, and what is neither."""
    site = "opt/venv/lib/python3.12/site-packages"
    files = {
        "var/lib/dpkg/status": STATUS,
        f"{site}/some_tool-1.2.dist-info/METADATA": "Metadata-Version: 2.4\nName: Some_Tool\nVersion: 1.2\n"
        "Summary: Does things\nLicense-Expression: BSD-3-Clause\n",
        f"{site}/old-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: old\nVersion: 0.1\nLicense: "
        + "Permission is hereby granted " * 20
        + "\nClassifier: License :: OSI Approved :: MIT License\n",
        f"{site}/some_tool/METADATA": "no metadata",
    }
    with tarfile.open(path, "w") as out:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            out.addfile(member, io.BytesIO(text.encode()))
    return path


def test_bill_of_materials_of_an_image(tmp_path: Path) -> None:
    sbom = tool("sbom")
    made = []
    for name in ("one.json", "two.json"):
        archive = root_file_system(tmp_path / "root.tar")
        sbom.main(["--version", "0.1.0", "--tar", str(archive), "--out", str(tmp_path / name)])
        made.append((tmp_path / name).read_text())
    assert made[0] == made[1], "the same image, the same document"
    found = json.loads(made[0])
    assert found["bomFormat"] == "CycloneDX"
    parts = {c["purl"]: c for c in found["components"]}
    assert set(parts) == {
        "pkg:pypi/some-tool@1.2",
        "pkg:pypi/old@0.1",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
    }
    assert parts["pkg:pypi/some-tool@1.2"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert parts["pkg:pypi/old@0.1"]["licenses"] == [{"license": {"name": "MIT License"}}]
    assert found["metadata"]["component"]["version"] == "0.1.0"


def test_bill_of_materials_of_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(SystemExit, match="root of the image"):
        tool("sbom").main(["--version", "1", "--tar", str(tmp_path / "empty.tar"), "--out", str(tmp_path / "o")])


def test_bill_of_materials_of_this_environment(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    tool("sbom").main(["--version", "0.1.0", "--environment", sys.prefix, "--out", str(out)])
    names = {c["name"].lower() for c in json.loads(out.read_text())["components"]}
    assert {"dagster", "polars", "boto3"} <= names


class Auditor:
    """pip-audit as it answers; keeps what it was asked."""

    def __init__(self, *answers: tuple[str, str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        self.asked.append(Path(command[command.index("-r") + 1]).read_text())
        out, error = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return subprocess.CompletedProcess(command, 0, out, error)


@pytest.fixture
def sbom_file(tmp_path: Path) -> Path:
    path = tmp_path / "sbom.json"
    archive = root_file_system(tmp_path / "root.tar")
    tool("sbom").main(["--version", "0.1.0", "--tar", str(archive), "--out", str(path)])
    return path


def answer(**found: list[dict[str, object]] | str) -> tuple[str, str]:
    items = [
        {"name": n, "version": "1", **({"skip_reason": v} if isinstance(v, str) else {"vulns": v})}
        for n, v in found.items()
    ]
    return json.dumps({"dependencies": items, "fixes": []}), ""


KNOWN = answer(requests=[{"id": "CVE-2018-18074", "fix_versions": ["2.20.0"]}])


def test_audit_finds_fails_and_names(sbom_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Auditor(KNOWN, answer(old=[{"id": "CVE-1", "fix_versions": ["0.2"]}], some_tool=[]))
    assert tool("audit").main(sbom_file, run=run, environment={}) == 1
    assert "old 1: CVE-1 (fixed in 0.2)" in capsys.readouterr().out
    assert run.asked[-1].split() == ["Some_Tool==1.2", "old==0.1"]


def test_audit_is_clean(sbom_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Auditor(KNOWN, answer(old=[], some_tool=[]))
    assert tool("audit").main(sbom_file, run=run, environment={"AUDIT_STRICT": "1"}) == 0
    assert "2 Python distributions: clean" in capsys.readouterr().out


@pytest.mark.parametrize(
    "given",
    [
        ("", "requests.exceptions.ConnectionError: Max retries exceeded"),
        answer(requests="not found on PyPI"),
        answer(requests=[]),
    ],
    ids=["no answer", "a package unknown", "a mirror without data"],
)
def test_audit_without_its_service_says_so(
    sbom_file: Path, given: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One question is asked, not one for every package; strictly, not knowing is a failure."""
    run = Auditor(given)
    assert tool("audit").main(sbom_file, run=run, environment={}) == 0
    said = capsys.readouterr().out
    assert "2 Python distributions: not checked\n" in said
    assert "clean" not in said
    assert [question.strip() for question in run.asked] == [tool("audit").VULNERABLE]
    assert tool("audit").main(sbom_file, run=Auditor(given), environment={"AUDIT_STRICT": "1"}) == 2


def test_what_the_service_does_not_know_is_not_clean(sbom_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (KNOWN, answer(old="not found on PyPI", some_tool=[]))
    assert tool("audit").main(sbom_file, run=Auditor(*given), environment={}) == 0
    said = capsys.readouterr().out
    assert "2 Python distributions: partly checked" in said
    assert "not checked: old (not found on PyPI)" in said
    assert tool("audit").main(sbom_file, run=Auditor(*given), environment={"AUDIT_STRICT": "1"}) == 2


def test_scanner_of_ones_own_is_asked(sbom_file: Path) -> None:
    for command, code in (("true", 0), ("false", 1), ("grep -q libc6", 0), ("grep -q nothing-such", 1)):
        run = Auditor(KNOWN, answer(old=[], some_tool=[]))
        assert tool("audit").main(sbom_file, run=run, environment={"IMAGE_SCANNER": command}) == code, command


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of one commit with what a release looks at."""
    files = {
        "pyproject.toml": '[project]\nversion = "1.2.3"\n',
        "roman_assets/__init__.py": '__version__ = "1.2.3"\n',
        "CHANGELOG.md": "# Changelog\n\n## 1.2.3\n\n- New.\n\n## 1.2.2\n\n- Old.\n",
        "helm_values/dagster.yaml": "image:\n    repository: roman-assets\n    tag: 1.2.3\n",
        "deploy/example/kustomization.yaml": "  - {name: roman-assets, newName: a/roman-assets, newTag: 1.2.3}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_tree_can_be_released(tree: Path) -> None:
    assert tool("release").problems(tree) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("roman_assets/__init__.py", '__version__ = "1.2.2"\n', "__init__.py has version 1.2.2"),
        ("helm_values/dagster.yaml", "image:\n    repository: roman-assets\n    tag: 1.2.2\n", "dagster.yaml has"),
        ("deploy/example/kustomization.yaml", "  - {name: roman-assets, newTag: 1.2}\n", "kustomization.yaml has"),
        ("CHANGELOG.md", "# Changelog\n\n## 1.2.2\n\n- Old.\n", "no section of version 1.2.3"),
        ("CHANGELOG.md", "# Changelog\n\n## 1.2.3\n\n## 1.2.2\n\n- Old.\n", "no section of version 1.2.3"),
    ],
)
def test_what_a_release_refuses(tree: Path, name: str, text: str, said: str) -> None:
    (tree / name).write_text(text)
    found = "\n".join(tool("release").problems(tree))
    assert said in found
    assert "the tree is dirty (1 files" in found


def test_a_release_is_made_of_the_commit(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither what is ignored nor what a former build left is in it."""
    (tree / "build").mkdir()
    (tree / "build" / "deleted_module.py").write_text("")
    folder = tmp_path_factory.mktemp("export") / "source"
    seconds = tool("release").export(tree, folder)
    assert abs(seconds - time.time()) < 600
    assert sorted(p.name for p in folder.iterdir()) == [
        "CHANGELOG.md",
        "deploy",
        "helm_values",
        "pyproject.toml",
        "roman_assets",
    ]


@pytest.mark.slow
def test_a_release_comes_out_twice_the_same(tmp_path: Path) -> None:
    """`make release` of this commit without an image: wheel, bill of materials and changelog of one version."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(tmp_path / "clone")], check=True)
    made = []
    for _ in range(2):
        program = [sys.executable, str(tmp_path / "clone" / "deploy" / "release" / "release.py")]
        done = subprocess.run(
            program, capture_output=True, text=True, env={**os.environ, "IMAGE_BUILD": ""}, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]
        assert "this release has no image" in done.stdout
        out = tmp_path / "clone" / done.stdout.splitlines()[-1]
        made.append((out / "SHA256SUMS").read_text())
    assert made[0] == made[1]
    version = out.name
    assert [line.split()[1] for line in made[0].splitlines()][:1] == ["CHANGELOG.md"]
    (wheel,) = out.glob("*.whl")
    assert wheel.name.startswith(f"roman_assets-{version}-")
    committed = subprocess.run(
        ["git", "ls-files", "roman_assets"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("roman_assets/")}
    assert inside ^ set(committed.stdout.split()) == {"roman_assets/kernels/_kernels.abi3.so"}
    bill = json.loads((out / "sbom.cdx.json").read_text())
    assert bill["metadata"]["component"]["version"] == version
    assert (out / "CHANGELOG.md").read_text().startswith(f"## {version}")


def test_the_section_of_a_version() -> None:
    text = "# Changelog\n\n## 1.10.0 (2027)\n\n- Ten.\n\n## 1.1.0\n\n- One.\n"
    assert tool("release").changelog_section(text, "1.1.0") == "## 1.1.0\n\n- One.\n"
    assert tool("release").changelog_section(text, "1.10.0") == "## 1.10.0\n\n- Ten.\n"


def test_fragments_are_collected_into_the_section_of_the_version(tree: Path) -> None:
    """Before the bullets that the section has; what was unreleased follows them. A second time changes nothing."""
    release = tool("release")
    (tree / "changelog.d").mkdir()
    (tree / "changelog.d" / "README.md").write_text("How to write one.\n")
    (tree / "changelog.d" / "b.md").write_text("Second,\non two lines.\n")
    (tree / "changelog.d" / "a.md").write_text("First.\n")
    text = (tree / "CHANGELOG.md").read_text().replace("## 1.2.3", "## Unreleased\n\n| was | is |\n\n## 1.2.3")
    (tree / "CHANGELOG.md").write_text(text)
    assert release.collect(tree) == 2
    written = (tree / "CHANGELOG.md").read_text()
    section = "## 1.2.3\n\n- First.\n- Second,\n  on two lines.\n\n| was | is |\n\n- New.\n"
    assert written == f"# Changelog\n\n{section}\n## 1.2.2\n\n- Old.\n"
    assert [path.name for path in (tree / "changelog.d").iterdir()] == ["README.md"]
    assert release.collect(tree) == 0
    assert (tree / "CHANGELOG.md").read_text() == written
    assert release.changelog_section(written, "1.2.3") == section


def test_a_version_may_consist_of_fragments_only() -> None:
    release = tool("release")
    text = "# Changelog\n\n## 1.2.2\n\n- Old.\n"
    made = release.collected(text, {Path("a.md"): "New."}, "1.2.3")
    assert made == "# Changelog\n\n## 1.2.3\n\n- New.\n\n## 1.2.2\n\n- Old.\n"
    assert release.collected("# Changelog\n", {Path("a.md"): "New."}, "1.2.3").endswith("## 1.2.3\n\n- New.\n\n")
    assert release.collected(text, {}, "1.2.3") == text


def test_the_versions_of_this_tree_agree() -> None:
    found = [p for p in tool("release").problems(ROOT) if "dirty" not in p] if (ROOT / ".git").exists() else []
    assert found == []
