"""Files that ship with the package."""

from __future__ import annotations

from pathlib import Path

from thriftseg.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_CONFIG_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # installed; in a checkout
_CHECKPOINT_FOLDERS = (_PACKAGE / "checkpoints", _PACKAGE.parent / "checkpoints")


def config_path(name: str) -> Path:
    """Find a shipped config, whether the package is installed or used from a checkout.

    Args:
        name: Path below `configs/`.

    Returns:
        The file.

    Raises:
        ConfigError: No such config ships with the package.

    Example:
        >>> config_path("quickstart.yaml").name
        'quickstart.yaml'
    """
    for folder in _CONFIG_FOLDERS:
        candidate = folder / name
        if candidate.is_file():
            return candidate
    raise ConfigError(f"no config named {name!r} ships with thriftseg", fix="pass the path of your own YAML file")


def list_configs(folder: str) -> list[str]:
    """Names of the shipped configs in a folder, sorted, as `config_path` takes them.

    Args:
        folder: Folder below `configs/`.

    Example:
        >>> "supervised/cityscapes_hrnet_w18.yaml" in list_configs("supervised")
        True
    """
    root = next((root for root in _CONFIG_FOLDERS if (root / folder).is_dir()), _CONFIG_FOLDERS[0])
    return sorted(str(path.relative_to(root)) for path in (root / folder).glob("*.yaml"))


def checkpoints_folder() -> Path:
    """Folder of the published checkpoints that ship with the package, with their index."""
    return next((folder for folder in _CHECKPOINT_FOLDERS if folder.is_dir()), _CHECKPOINT_FOLDERS[0])
