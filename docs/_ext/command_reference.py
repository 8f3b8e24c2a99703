"""The reference of commands, from the signatures that make their options, and of the configs and tables that ship."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from thriftseg.cli.command import CONFIG_NAME
from thriftseg.cli.main import COMMANDS
from thriftseg.cli.options.signatures import Option, Signature, signature_of
from thriftseg.reports import PublishedTable, list_tables, load_table
from thriftseg.resources import config_path, list_configs

TRAINER = ("fit", "validate", "test")
CONFIG_FOLDERS = {
    "": "The defaults of a command.",
    "supervised": "One data set, one kind of labels: `thriftseg fit --config NAME`.",
    "mixed": "Several kinds of labels in one run.",
    "vos": "Propagators that are tuned.",
    "eva_vos": "The networks that choose what to annotate.",
    "hvsa": "Labelling of one video: `thriftseg annotate hvsa --config NAME`.",
    "studies": "Comparisons of several students: `thriftseg quickstart --config NAME`.",
    "zoo": "How shipped weights were trained.",
    "bases": "What the rows of [tables](tables.md) change.",
}
TRAINER_PAGE = """# thriftseg fit, validate, test

{lines}

They are Lightning's command line: `--config` names a file or a config that ships ([list](../configs.md)), `--table NAME
--row KEY` a row of a published table ([list](../tables.md)), and what stands behind it wins. Options are paths into the
config without `init_args`: `--data.dataset.root DIR`, `--trainer.max_epochs 3`, `--model.network.backbone resnet18`.
`--print_config` prints all of them, `thriftseg fit --help` those of the classes that are chosen.

| option | |
|---|---|
| `--config` | file, or config that ships with the package; may stand more than once |
| `--table`, `--row` | a row of a published table in the place of a config |
| `--name` | name of the run, whose folder is `runs/<name>`; that of the config if unset |
| `--stage` | `teacher` or `student` alone, where a config names both |
| `--ckpt_path` | `last` goes on where a run stopped; a path for `validate` and `test`, the best one without it |
| `--model.*` | settings of {model} |
| `--data.*` | settings of {data} |
| `--trainer.*` | settings of `lightning.pytorch.Trainer` |
| `--seed_everything` | seed of weights and of the order of batches |
"""


def commands() -> Iterator[tuple[str, str, str]]:
    """Page, command and full path of its function."""
    for page, command in COMMANDS.items():
        if page in TRAINER:
            continue
        module = import_module(f"thriftseg.cli.{command.module}")
        for name, action in getattr(module, "ACTIONS", {"": getattr(module, "run", None)}).items():
            yield page, f"{page} {name}".strip(), f"{action.__module__}.{action.__name__}"


def _rows(options: tuple[Option, ...]) -> Iterator[str]:
    for option in options:
        if option.name == CONFIG_NAME:
            continue
        name = f"`{option.name.upper()}`" if option.positional else f"`--{option.name}`"
        kind = getattr(option.annotation, "__name__", None) if isinstance(option.annotation, type) else None
        kind = (kind or str(option.annotation)).replace("typing.", "").replace("NoneType", "None")
        default = "required" if option.default is MISSING else f"`{option.default!r}`"
        cells = [
            name,
            f"`{kind}`".replace("|", r"\|"),
            default.replace("|", r"\|"),
            option.description.replace("|", r"\|"),
        ]
        yield f"| {' | '.join(cells)} |"


def _section(command: str, signature: Signature) -> str:
    head = "| option | type | default | |\n|---|---|---|---|"
    lines = [f"## thriftseg {command}", "", f"{signature.summary}.", "", head, *_rows(signature.options)]
    for _, settings in signature.settings.values():
        shown = {option.name for option in signature.options}
        own = tuple(option for option in settings.options if option.name not in shown)
        lines += ["", f"{settings.summary}:", "", head, *_rows(own)]
    return "\n".join([*lines, ""])


def _command_pages() -> dict[str, str]:
    pages: dict[str, list[str]] = {}
    for page, command, path in commands():
        pages.setdefault(page, [f"# thriftseg {page}", "", f"To {COMMANDS[page].summary}.", ""])
        pages[page].append(_section(command, signature_of(path)))
    found = {f"cli/{page}.md": "\n".join(lines) for page, lines in pages.items()}
    lines = "\n".join(f"- `thriftseg {name}`: {COMMANDS[name].summary}" for name in TRAINER)
    model, data = (f"[`thriftseg.{room}`](../api/{room}.rst)" for room in ("lightning_modules", "datamodules"))
    found["cli/fit.md"] = TRAINER_PAGE.format(lines=lines, model=model, data=data)
    rows = [
        f"| [`thriftseg {name}`]({'fit' if name in TRAINER else name}.md) | {COMMANDS[name].summary} |"
        for name in COMMANDS
    ]
    toc = [
        "```{toctree}",
        ":hidden:",
        "",
        *dict.fromkeys("fit" if name in TRAINER else name for name in COMMANDS),
        "```",
    ]
    flags = "What holds for every command is in [Options](../options.md#what-holds-for-every-command)."
    found["cli/index.md"] = "\n".join(["# Commands", "", flags, "", "| command | |", "|---|---|", *rows, "", *toc, ""])
    return found


def _configs_page() -> str:
    text = "# Configs that ship\n\n`--config NAME` takes any of them, from any folder; `--print_config` shows it.\n"
    for folder, about in CONFIG_FOLDERS.items():
        text += f"\n## {folder or 'of commands'}\n\n{about}\n\n| config | |\n|---|---|\n"
        text += "".join(f"| `{name}` | {_first_words(name)} |\n" for name in list_configs(folder))
    return text


def _first_words(config: str) -> str:
    """The first sentence of the comment at its head."""
    words = ""
    for line in config_path(config).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or words.endswith((".", ":")):
            break
        words = f"{words} {line.removeprefix('#').strip()}".strip()
    return words.partition(". ")[0].replace("|", r"\|")


def _number(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _table_section(table: PublishedTable) -> str:
    head = ["row", "samples", "hours", *table.metrics]
    lines = [f"## {table.name}", "", f"{table.title}. {table.source}.", ""]
    lines += [f"`thriftseg report table {table.name}`", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in table.rows:
        key = f"{row.key}" if row.run is not None else f"{row.key} (not shipped)"
        cells = [
            key,
            _number(row.samples),
            _number(row.hours),
            *(_number(row.published.get(name)) for name in table.metrics),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def write_pages(app: Sphinx) -> None:
    """Write the pages below `reference/`, those that have changed alone."""
    tables = (
        "# Tables\n\nEvery table with the published figures of its rows, in per cent where they are scores; an"
        " empty cell is a figure that is not known. [Tables](../guides/sweeps.md) says how rows are run.\n\n"
    )
    pages = _command_pages() | {
        "configs.md": _configs_page(),
        "tables.md": tables + "\n".join(_table_section(load_table(name)) for name in list_tables()),
    }
    for name, text in pages.items():
        path = Path(app.srcdir) / "reference" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
