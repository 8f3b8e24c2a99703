"""Every command that the pages show is read by the program's own parser; marked ones run."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, commands, name_of, run_blocks
from thriftseg.cli import command as cli_command
from thriftseg.cli import sweep
from thriftseg.cli.main import COMMANDS, main
from thriftseg.cli.options.renamed import refuse_old_names
from thriftseg.cli.options.shipped_config import row_as_config
from thriftseg.cli.options.signatures import signature_of
from thriftseg.reports import load_table
from thriftseg.resources import config_path

TRAINER = ("fit", "validate", "test")
RUN = [page for page in PAGES if blocks(page, run=True)]
FAST = {"docs/guides/coarse.md"}


def parse(words: Sequence[str]) -> None:
    """Read a command line as the program does, and stop before anything happens.

    Raises:
        Exception: The program would refuse it.
    """
    name, *rest = words
    if name == "--version":
        return
    if name in TRAINER:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
            assert main([name, *rest, "--print_config"]) == 0, told.getvalue()
        return
    module = import_module(f"thriftseg.cli.{COMMANDS[name].module}")
    if name == "sweep":
        own, others = sweep._split(rest)
        table = load_table(own[own.index("--table") + 1])
        if others:
            parse(
                [
                    *table.command.split(),
                    "--table",
                    table.name,
                    "--row",
                    next(row.key for row in table.rows if row.run),
                    *others,
                    *(["--out", "runs/row"] if table.command.startswith("annotate ") else []),
                ]
            )
        rest = own
    with contextlib.nullcontext(rest) if name == "sweep" else row_as_config(rest) as given:
        action = module.run if hasattr(module, "run") else module.ACTIONS[given.pop(0)]
        read = cli_command._Command(name, action, signature_of(f"{action.__module__}.{action.__name__}"))
        words = [re.sub(r"^--[\w-]+", lambda option: f"--{option[0][2:].replace('-', '_')}", word) for word in given]
        refuse_old_names(name, words)
        parser = cli_command._parser(read)
        if hasattr(module, "DEFAULTS"):
            parser.default_config_files = [str(config_path(module.DEFAULTS))]
        parser.parse_args(words)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_the_commands_of_a_page_are_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")  # some are to be run where the package was cloned
    wrong = []
    for words in commands(page, tmp_path):
        try:
            parse(words)
        except Exception as error:
            wrong.append(f"thriftseg {' '.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)


def test_commands_are_found_in_loops_chains_and_behind_other_programs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nfor n in a b; do thriftseg data check --dataset $n --root 'x y'; done\n"
        "pip install . && thriftseg quickstart  # thriftseg no\n"
        "srun --nodes 2 \\\n  thriftseg fit --config c.yaml | tee log\n```\n"
    )
    assert commands(page, tmp_path) == [
        ("data", "check", "--dataset", "a", "--root", "x y"),
        ("data", "check", "--dataset", "b", "--root", "x y"),
        ("quickstart",),
        ("fit", "--config", "c.yaml"),
    ]


@pytest.mark.parametrize(
    "words",
    [["data", "check"], ["label", "coarse", "--dataset", "camvid", "--corners", "3"], ["fit", "--config", "no.yaml"]],
)
def test_what_the_program_refuses_is_refused_here(words: list[str]) -> None:
    with pytest.raises((Exception, AssertionError)):
        parse(words)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[] if name_of(p) in FAST else [pytest.mark.slow]) for p in RUN], ids=name_of
)
def test_the_marked_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    run_blocks(page, tmp_path)


def test_enough_pages_run() -> None:
    assert {name_of(page) for page in RUN} >= {f"docs/guides/{name}.md" for name in ("clicks", "propagation", "boxes")}
    assert {path.relative_to(ROOT).as_posix() for path in RUN} >= FAST
