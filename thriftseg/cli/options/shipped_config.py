"""`--config`, and `--table` with `--row`: options from a YAML file, or from a row of a published table."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from thriftseg.cli.options.renamed import refuse_old_names
from thriftseg.errors import ConfigError
from thriftseg.parsing import read_yaml
from thriftseg.resources import config_path

ROW_OPTIONS = ("--table", "--row")


class ConfigFile(ActionConfigFile):
    """Reads options from a YAML file, or from one that ships with the package, by its name."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Take the options of the file; see `ActionConfigFile`."""
        values = find_config(values)
        if Path(values).is_file():
            refuse_old_names(parser.prog.removeprefix("thriftseg "), [f"--{key}" for key in _options_in(values)])
        super().__call__(parser, cfg, values, option_string)


def add_config_argument(parser: ArgumentParser) -> None:
    """Declare `--config`, and with it `--print_config`."""
    parser.add_argument(
        "--config",
        action=ConfigFile,
        metavar="YAML",
        help="options by name: a file, or a config that ships with the package; later options win",
    )


def find_config(name: str) -> str:
    """Path of a config: a file, or one that ships with the package; what is neither is left as it is.

    Args:
        name: What was given as `--config`.

    Raises:
        ConfigError: It was a config once and is a row of a table now, or it holds no options.
    """
    if Path(name).exists() and not Path(name).is_dir():
        _options_in(name)
        return name
    with suppress(ConfigError):
        return str(config_path(name))
    from thriftseg.reports import find_row

    found = find_row(Path(name).stem)
    if found is None:
        return name
    table, row = found
    raise ConfigError(
        "this config is a row of a table now", path=name, fix=f"pass --table {table.name} --row {shlex.quote(row.key)}"
    )


def _options_in(path: str) -> dict[str, Any]:
    """Options of a YAML file by name."""
    fix = "pass a YAML file of options by name"
    return read_yaml(path, dict[str, Any], fault=ConfigError, fix=fix, nan=True)


@contextmanager
def row_as_config(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Arguments of a command with `--table NAME --row KEY` replaced by `--config FILE`, named like the row's runs.

    Args:
        arguments: Arguments; those without `--table` and `--row` stay as they are.

    Raises:
        ConfigError: One of the two is missing, or there is no such row.
    """
    rest, given = _split(arguments)
    if not given:
        yield rest
        return
    if len(given) < len(ROW_OPTIONS):
        missing = next(option for option in ROW_OPTIONS if option not in given)
        raise ConfigError(f"{missing} is missing", expected="--table NAME --row KEY", found=" ".join(arguments))
    from thriftseg.reports import compose_row

    composed = compose_row(*(given[option] for option in ROW_OPTIONS))
    with tempfile.TemporaryDirectory(prefix="thriftseg-") as folder:
        path = Path(folder, f"{composed.row.run}.yaml")
        path.write_text(yaml.safe_dump(composed.config, sort_keys=False), encoding="utf-8")
        at = min(index for index, word in enumerate(arguments) if word.partition("=")[0] in ROW_OPTIONS)
        yield [*rest[:at], "--config", str(path), *rest[at:]]


def _split(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Arguments without the options that name a row, and those."""
    rest: list[str] = []
    given: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ROW_OPTIONS:
            given[option] = value if equals else next(words, "")
        else:
            rest.append(word)
    return rest, given
