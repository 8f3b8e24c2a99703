"""The mixture of a training config, without the rest of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from thriftseg.datamodules.mixing.mixture import Mixture
from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.parsing import check, read_yaml
from thriftseg.resources import config_path


def read_mixture(path: str | Path, root: str | None = None) -> tuple[VideoDataset, Mixture]:
    """Build the data set and the mixture that a training config names, and nothing else of it.

    Args:
        path: Config of `thriftseg fit`: a file, or the name of one that ships with the package.
        root: Folder of the data, in place of the one in the config.

    Raises:
        ConfigError: The file is missing or has no such section, or a setting is wrong.

    Example:
        >>> dataset, mixture = read_mixture("mixed/cityscapes_hrnet_w18_all.yaml", root="data/cityscapes")
        >>> dataset.name, [(part.labels, part.share) for part in mixture.parts]
        ('cityscapes', [('manual', 0.25), ('sam2', 0.25), ('refined', 0.25), ('clicks', 0.5)])
    """
    from jsonargparse import ArgumentError, ArgumentParser

    settings = _data_section(Path(path))
    named = _Named(settings.dataset) if isinstance(settings.dataset, str) else settings.dataset
    arguments = (named.init_args or {}) | ({} if root is None else {"root": root})
    wanted: dict[str, Any] = {"dataset": {"class_path": named.class_path, "init_args": arguments}}
    if settings.mixture:
        wanted["mixture"] = settings.mixture
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--dataset", type=VideoDataset)
    parser.add_argument("--mixture", type=Mixture | None)
    try:
        built = parser.instantiate_classes(parser.parse_object(wanted))
    except (ArgumentError, TypeError, ValueError) as error:
        found = " ".join(str(error).split())
        raise ConfigError("wrong settings of the data set or the mixture", path=path, found=found) from error
    return built.dataset, built.mixture or Mixture()


class _Named(msgspec.Struct):
    class_path: str
    init_args: dict[str, Any] | None = None


class _Settings(msgspec.Struct):
    dataset: str | _Named
    mixture: dict[str, Any] | None = None


def _data_section(path: Path) -> _Settings:
    if not path.is_file():
        path = _shipped(path)
    settings: Any = read_yaml(path, dict[str, Any], fault=ConfigError, nan=True)
    for name in ("data", "init_args"):
        settings = settings.get(name) if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or "dataset" not in settings:
        raise ConfigError("the config names no data set", path=path, expected="data.init_args.dataset")
    return check(settings, _Settings, path, "data.init_args", fault=ConfigError, nan=True)


def _shipped(name: Path) -> Path:
    try:
        return config_path(name.as_posix())
    except ConfigError as error:
        raise ConfigError("no such config", path=name, fix="pass a config of `thriftseg fit`") from error
