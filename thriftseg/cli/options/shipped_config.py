"""`--config`: options from a YAML file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from thriftseg.cli.options.renamed import refuse_old_names
from thriftseg.errors import ConfigError
from thriftseg.resources import config_path


class ConfigFile(ActionConfigFile):
    """Reads options from a YAML file, or from one that ships with the package, by its name."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Take the options of the file; see `ActionConfigFile`."""
        if not Path(values).is_file():
            with suppress(ConfigError):
                values = str(config_path(values))
        if Path(values).is_file():
            with suppress(yaml.YAMLError, UnicodeError, TypeError):
                keys = yaml.safe_load(Path(values).read_text(encoding="utf-8")) or {}
                refuse_old_names(parser.prog.removeprefix("thriftseg "), [f"--{key}" for key in keys])
        super().__call__(parser, cfg, values, option_string)


def add_config_argument(parser: ArgumentParser) -> None:
    """Declare `--config`, and with it `--print_config`."""
    parser.add_argument(
        "--config",
        action=ConfigFile,
        metavar="YAML",
        help="options by name: a file, or a config that ships with the package; later options win",
    )
