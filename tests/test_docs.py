"""README and documentation: their commands, code, names of files and form."""

import ast
import contextlib
import importlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("keras_frcnn", "training", "export")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SHELL = ("sh", "bash", "console")
MOST_README_LINES = 130
LONGEST_PROSE_LINE = 120
# Of Docker Compose, of tests/golden/record.py, of TensorBoard, of all commands.
OTHER_OPTIONS = {"--profile", "--write", "--logdir", "--help"}


class Fence(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int  # of its first line of content, from 1
    info: str  # what stands behind the opening backticks
    text: str

    @property
    def label(self) -> str:
        return f"{self.page}:{self.line}"


def split_page(text: str, page: str) -> tuple[list[Fence], list[tuple[int, str]]]:
    """The fenced blocks of a page, and its other lines with their numbers."""
    fences, prose, block, opening = [], [], [], None
    for number, line in enumerate(text.splitlines(), start=1):
        mark = re.match(r"\s*```(.*)", line)
        if mark and opening is None:
            opening, block = (number + 1, mark[1].strip()), []
        elif mark:
            fences.append(Fence(page, *opening, textwrap.dedent("\n".join(block))))
            opening = None
        elif opening is not None:
            block.append(line)
        else:
            prose.append((number, line))
    assert opening is None, f"{page}: the block at line {opening and opening[0]} is not closed"
    return fences, prose


CONTENT = {page.relative_to(ROOT).as_posix(): split_page(page.read_text(encoding="utf-8"), page.name) for page in PAGES}
FENCES = [fence for fences, _ in CONTENT.values() for fence in fences]
PROSE = [(page, number, line) for page, (_, lines) in CONTENT.items() for number, line in lines]
INLINE_CODE = [(page, number, code) for page, number, line in PROSE for code in re.findall(r"`([^`]+)`", line)]


def shell_words(text: str) -> list[list[str]]:
    """The words of each simple command in a shell block; comments, pipes and redirections are taken off."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(re.sub(r"^\$ ", "", line), comments=True) for line in lines if "(" not in line]
    ends = ("|", "&&", ";", ">", "&")
    return [line[: next((place for place, word in enumerate(line) if word in ends), len(line))] for line in words]


def shown_commands() -> list[tuple[str, list[str]]]:
    """(place, words after `python`) of every Python command shown."""
    commands = []
    for fence in FENCES:
        for words in shell_words(fence.text) if fence.info in SHELL else ():
            python = next((place for place, word in enumerate(words) if Path(word).name == "python"), None)
            if python is not None:
                commands.append((fence.label, words[python + 1 :]))
    return commands


COMMANDS = shown_commands()
PYTHON = [fence for fence in FENCES if fence.info.split()[:1] == ["python"]]


def help_text(module: str) -> str:
    """What `python -m module --help` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    return printed.getvalue()


def options_of(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


# The tests' own reading of a page.


def test_fences_and_prose_are_told_apart() -> None:
    fences, prose = split_page("a\n```sh\nb \\\n  c  # d\n```\n- e\n  ```python run\n  f\n  ```\n", "page.md")
    assert [(fence.line, fence.info, fence.text) for fence in fences] == [
        (3, "sh", "b \\\n  c  # d"),
        (8, "python run", "f"),
    ]
    assert prose == [(1, "a"), (6, "- e")]
    assert shell_words(fences[0].text) == [["b", "c"]]
    assert shell_words("$ a b | c") == [["a", "b"]]


def test_there_is_something_to_check(command_lines) -> None:
    assert len(COMMANDS) > 15 and len(PYTHON) > 3 and len(command_lines) > 6
    assert any("run" in fence.info.split() for fence in PYTHON)


# Commands.


@pytest.mark.parametrize(
    ("label", "words"), COMMANDS, ids=[f"{label}-{words[words[0] == '-m']}" for label, words in COMMANDS]
)
def test_commands_use_modules_and_options_that_exist(
    label: str, words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.json").write_text("{}")  # a page that makes a plan uses it in its next command
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), f"{label}: there is no {words[0]}"
        return
    module, arguments = words[1], words[2:]
    assert importlib.util.find_spec(module), f"{label}: there is no module {module}"
    if module.split(".")[0] not in PACKAGES:
        missing = [word for word in arguments if word.startswith("tests/") and not (ROOT / word).exists()]
        assert not missing, f"{label}: there is no {missing}"
        return
    parse = getattr(importlib.import_module(module), "parse_arguments", None)
    if parse is None:
        unknown = options_of(" ".join(arguments)) - options_of(help_text(module))
        assert not unknown, f"{label}: {module} has no {unknown}"
        return
    try:
        parse(arguments)
    except SystemExit as end:
        assert end.code == 0, f"{label}: {capsys.readouterr().err}"


def test_options_named_in_the_text_exist(command_lines) -> None:
    known = OTHER_OPTIONS.union(*(options_of(help_text(module)) for module in command_lines))
    # CHANGELOG.md may name options that are gone.
    named = [entry for entry in INLINE_CODE if entry[0] != "CHANGELOG.md"]
    unknown = [(page, line, option) for page, line, code in named for option in options_of(code) - known]
    assert not unknown


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = [words for fence in FENCES if fence.info in SHELL for words in shell_words(fence.text)]
    named = [code.split() for _, _, code in INLINE_CODE]
    wanted = {target for words in shown + named if words[:1] == ["make"] for target in words[1:]}
    assert wanted and wanted <= targets, f"not in the Makefile: {sorted(wanted - targets)}"


# Python code.


@pytest.mark.parametrize("fence", PYTHON, ids=[fence.label for fence in PYTHON])
def test_python_code_compiles_and_its_names_exist(fence: Fence) -> None:
    tree = ast.parse(fence.text, fence.label)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found = hasattr(importlib.import_module(node.module), alias.name)
                assert found or importlib.util.find_spec(f"{node.module}.{alias.name}"), f"{fence.label}: {alias.name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "keras_frcnn":
            assert hasattr(importlib.import_module("keras_frcnn"), node.attr), f"keras_frcnn has no {node.attr}"


RUN = [fence for fence in PYTHON if "run" in fence.info.split()]


@pytest.mark.parametrize("fence", RUN, ids=[fence.label for fence in RUN])
def test_short_python_code_runs(fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(fence.text, fence.label, "exec"), {"__name__": "__docs__"})


# Names of files.


def test_the_architecture_page_names_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    missing = sorted(name for path in paths if f"`{(name := path.relative_to(ROOT).as_posix())}`" not in text)
    assert not missing, "add a line for each to docs/architecture.md"


def test_named_files_exist() -> None:
    file, folder = re.compile(r"[\w-]+(/[\w.-]+)+\.(py|yaml|config|md|sbatch)"), re.compile(r"([\w-]+/)+")
    tops = (*PACKAGES, "tests", "docs")
    rooms = {path.name for package in PACKAGES for path in (ROOT / package).iterdir() if path.is_dir()}
    missing = []
    for page, line, code in INLINE_CODE:
        top = code.split("/")[0]
        is_ours = file.fullmatch(code) and top in {*tops, *rooms} or folder.fullmatch(code) and top in tops
        if (
            is_ours
            and page != "CHANGELOG.md"
            and not any((ROOT / place / code).exists() for place in (".", PACKAGES[0]))
        ):
            missing.append((page, line, code))
    assert not missing


def test_links_lead_to_files() -> None:
    links = [
        (page, line, target)
        for page, line, text in PROSE
        for target in re.findall(r"\]\(([^)#]+)\)", text)
        if "://" not in target
    ]
    assert len(links) > 10
    assert not [entry for entry in links if not (ROOT / entry[0]).parent.joinpath(entry[2]).exists()]


# Form.


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


def test_lines_of_prose_fit_the_page() -> None:
    prose = [entry for entry in PROSE if not entry[2].lstrip().startswith("|")]  # a row of a table is one line
    assert not [(page, line) for page, line, text in prose if len(text) > LONGEST_PROSE_LINE]


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures and all(path.stat().st_size < 150_000 for path in pictures)


@pytest.mark.slow
def test_the_documentation_builds_without_warnings(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install .[docs]")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path / "html")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {path.relative_to(tmp_path / "html").as_posix() for path in (tmp_path / "html").rglob("*.html")}
    assert {"index.html", "four-steps.html", "reference/options.html", "reference/api.html"} <= pages
    loaded = [
        (page, address)
        for page in sorted(pages)
        for address in re.findall(
            r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(https?:[^"]+)"',
            (tmp_path / "html" / page).read_text(encoding="utf-8"),
        )
    ]
    assert not loaded, "pages must not load anything from the network"
