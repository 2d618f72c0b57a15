"""Documents agree with the code and with each other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from infra import parameters_page
from tasks.core.errors import ErrorCode
from tasks.core.flags import FLAGS
from tasks.core.metrics import METRICS
from tasks.core.patient_metrics import PATIENT_METRICS
from tasks.core.rows import CaseRow, CorrectionRow, ScanRow

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(page for name in (".github", "infra") for page in (ROOT / name).rglob("*.md"))]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE_NAMED_IN_TEXT = re.compile(r"`((?:flows|tasks|tests|infra|engine|stages|io|core|runtime)/[\w./-]+)`")
GONE = {"infra/scale.py", "tests/benchmarks/levers.py"}
"""Named with the version that held them last."""

PAGE_NAMED_IN_CODE = re.compile(r"infra/(decisions|docs)/([\w.-]*\w)")


def _prose(page: Path) -> str:
    """Text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """Anchors of a page as GitHub makes them: of a heading, lower case, spaces as hyphens, no other signs."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: Path) -> Iterator[str]:
    """Yield the relative links of a page that lead nowhere."""
    for link in LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_a_file_and_heading(page: Path) -> None:
    """Every relative link of a document points at a file that exists, and at a heading in it where it names one."""
    assert not list(_broken(page))


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A missing file and a missing heading are found; existing ones, web addresses and blocks of code are not."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A (good) heading\n[a](page.md) [b](#a-good-heading) [c](https://example.org) [d](gone.md) [e](#gone)\n"
        "```\n[f](gone.md)\n```\n"
    )
    assert list(_broken(page)) == ["gone.md", "#gone"]


def test_pages_that_code_names_exist() -> None:
    """A comment or manifest that names a decision by number, or a page by file, names one that exists."""
    sources = [
        path
        for folder in ("flows", "tasks", "infra", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".tf"}
    ]
    named = {found for path in sources for found in PAGE_NAMED_IN_CODE.findall(path.read_text())}
    assert named
    assert not [f"{folder}/{name}" for folder, name in named if not list((ROOT / "infra" / folder).glob(f"{name}*"))]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_documents_name_exist(page: Path) -> None:
    """A file or folder of the project that a document names in backticks, `tasks/` left out or not, exists."""
    named = set(FILE_NAMED_IN_TEXT.findall(_prose(page))) - GONE
    assert not [name for name in sorted(named) if not (ROOT / name).exists() and not (ROOT / "tasks" / name).exists()]


def test_parameters_page_is_generated_from_the_models() -> None:
    """The committed page of parameters is what the generator writes now."""
    message = f"{parameters_page.PAGE.name} differs from the parameter models; run: {parameters_page.COMMAND}"
    assert parameters_page.PAGE.read_text() == parameters_page.page(), message


def test_codes_columns_and_metrics_are_explained() -> None:
    """Every error code, column of scans, cases and corrections, metric and flag has its line on the page."""
    page = (ROOT / "infra" / "docs" / "inputs-and-outputs.md").read_text()
    tables = (ScanRow, CaseRow, CorrectionRow)
    columns = [name for row in tables for name, field in row.model_fields.items() if not field.exclude]
    assert not [
        name for name in [*get_args(ErrorCode), *columns, *METRICS, *PATIENT_METRICS, *FLAGS] if f"`{name}`" not in page
    ]


QUOTED = ("took none", "Nothing lies below the scans' address any more", "ended alike", "The flow run has code version")


def test_runbook_names_notices_and_messages_as_they_are_sent() -> None:
    """Every notice and message that the runbook explains is worded in the code as it is there."""
    runbook = (ROOT / "infra" / "RUNBOOK.md").read_text()
    section = re.search(r"## What each notice means\n(.*?)\n## ", runbook, re.DOTALL).group(1)
    code = "\n".join(path.read_text() for folder in ("tasks", "infra") for path in (ROOT / folder).rglob("*.py"))
    notices = re.findall(r"^- \*\*(.+?)\*\*", section, re.MULTILINE)
    assert len(notices) == 4
    assert not [text for text in QUOTED if text not in section]
    assert not [text for text in [*notices, *QUOTED] if text not in code]
