"""The mixture of a training config, without the rest of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thriftseg.datamodules.mixing.mixture import Mixture
from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.parsing import read_yaml
from thriftseg.resources import config_path


def read_mixture(path: str | Path, root: str | None = None) -> tuple[VideoDataset, Mixture]:
    """Build the data set and the mixture that a training config names, and nothing else of it.

    Args:
        path: Config of `thriftseg fit`: a file, or the name of one that ships with the package.
        root: Folder of the data, in place of the one in the config.

    Raises:
        ConfigError: The file is missing or has no such section, or a setting is wrong.
    """
    from jsonargparse import ArgumentParser

    settings = _data_section(Path(path))
    wanted: dict[str, Any] = {"dataset": settings["dataset"]}
    if isinstance(wanted["dataset"], str):
        wanted["dataset"] = {"class_path": wanted["dataset"]}
    if root is not None:
        wanted["dataset"].setdefault("init_args", {})["root"] = root
    if settings.get("mixture"):
        wanted["mixture"] = settings["mixture"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--dataset", type=VideoDataset)
    parser.add_argument("--mixture", type=Mixture | None)
    built = parser.instantiate_classes(parser.parse_object(wanted))
    return built.dataset, built.mixture or Mixture()


def _data_section(path: Path) -> dict[str, Any]:
    if not path.is_file():
        path = _shipped(path)
    section = read_yaml(path, dict[str, Any], fault=ConfigError, nan=True).get("data", {})
    settings = section.get("init_args", {}) if isinstance(section, dict) else {}
    if "dataset" not in settings:
        raise ConfigError("the config names no data set", path=path, expected="data.init_args.dataset")
    return dict(settings)


def _shipped(name: Path) -> Path:
    try:
        return config_path(name.as_posix())
    except ConfigError as error:
        raise ConfigError("no such config", path=name, fix="pass a config of `thriftseg fit`") from error
