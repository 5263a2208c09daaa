"""Pages tell the truth, and committed files hold nothing of one machine or one index."""

import re
import subprocess
import sys
from pathlib import Path

from .shape import ROOT, SRC

PATH_IN_TEXT = re.compile(
    r"`((?:src|tests|docs|tools|requirements|examples|benchmarks|\.ci)/[\w./-]+|[\w-]+\.(?:py|md|toml))`"
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
# In pieces, so that this file passes its own test.
INDEX_HOSTS = ("py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs.org", "deb." + "debian.org")
MACHINE_PATHS = re.compile(
    "|".join(("/" + "root/", "/" + "work/", "/home/(?!um/|runner/|me/|user/|ada/)[a-z]+/", "/opt/" + "wheels"))
)
LOCKS = ("bootstrap", "dev", "server")


def committed() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def test_every_path_that_architecture_names_exists():
    page = ROOT / "docs" / "architecture.md"
    named = PATH_IN_TEXT.findall(text_of(page))
    assert named, "the page is a map: it names files"
    roots = (ROOT, SRC, SRC / "ultramarine", ROOT / "docs")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_every_link_between_pages_leads_somewhere():
    pages = [file for file in committed() if file.suffix == ".md"]
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in LINK.findall(text_of(page))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_no_committed_file_names_a_package_index():
    named = [
        f"{file.relative_to(ROOT)}: {host}" for file in committed() for host in INDEX_HOSTS if host in text_of(file)
    ]
    assert named == []


def test_no_committed_file_holds_a_path_of_one_machine():
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in committed()
        if (match := MACHINE_PATHS.search(text_of(file)))
    ]
    assert found == []


def test_every_locked_requirement_has_hashes_and_no_address():
    for name in LOCKS:
        text = text_of(ROOT / "requirements" / f"{name}.txt")
        requirements = [entry for entry in text.replace("\\\n", " ").splitlines() if re.match(r"[A-Za-z0-9]", entry)]
        assert requirements, name
        assert [entry.split()[0] for entry in requirements if "--hash=sha256:" not in entry] == []
        assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links)|://", text, re.MULTILINE), name


def test_the_settings_page_is_what_the_settings_say():
    program = "import runpy; print(runpy.run_path('tools/write_settings_reference.py')['page'](), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert text_of(ROOT / "docs" / "reference" / "settings.md") == done.stdout, "run: make docs"


def test_the_licence_is_apache_2():
    assert "Apache License" in text_of(ROOT / "LICENSE")
    assert 'license = "Apache-2.0"' in text_of(ROOT / "pyproject.toml")
