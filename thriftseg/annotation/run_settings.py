"""The settings of a run, kept in its folder so that no other run goes on there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError, DatasetError

FILE = "run.json"


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write what a run is told, or refuse a folder that holds another run.

    Args:
        folder: Folder of the run; made when absent.
        settings: JSON values only.

    Raises:
        ConfigError: The folder holds a run with other settings.
        DatasetError: The file there is damaged.
    """
    path, wanted = folder / FILE, json.loads(json.dumps(settings))
    if not path.is_file():
        write_bytes(path, (json.dumps(wanted, indent=1, sort_keys=True) + "\n").encode())
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError("not readable as JSON", path=path, found=str(error)) from error
    differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if differing:
        raise ConfigError(
            "holds a run with other settings",
            path=folder,
            expected=_listed(wanted, differing),
            found=_listed(found, differing),
            fix="choose another folder, or the settings of that run",
        )


def _listed(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {settings.get(key)}" for key in keys)
