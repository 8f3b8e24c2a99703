"""The folder of a run of HVSA, from which the run goes on wherever it was stopped.

<run>/run.json              settings; another run is refused
<run>/round_<k>/selection.json     what round k asks for, and the budget before it
<run>/round_<k>/tuning/round.ckpt  the round's tuning after its last finished epoch
<run>/round_<k>/scores.json        the label maps after the round, scored; round 0 is the network as given
<run>/rounds.jsonl          a row per finished round: cost, shares, scores
<run>/labels/               label store: `person` (what was bought) and `hvsa` (every frame)
<run>/flow/, <run>/superpixels/    caches
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftseg.annotation.ranking.selection import Sample
from thriftseg.atomic import sweep_partial, write_bytes
from thriftseg.errors import DatasetError
from thriftseg.folders import claim_folder

PERSON, RESULT = "person", "hvsa"
"""Sources in the label store of a run: labels that were bought, and the labels of all frames."""


@dataclass(frozen=True)
class RoundSelection:
    """What a round asks for.

    Attributes:
        budget: State of the budget before the round.
        samples: The samples, the most wanted first. Where costs are known afterwards only, as many as may be needed.
        pixels: Unlabelled pixels of each.
    """

    budget: Mapping[str, Any]
    samples: Sequence[Sample]
    pixels: Sequence[int]


class HVSAFolder:
    """The folder of a run.

    Args:
        root: The folder; made when absent.
        settings: Settings of the run, JSON values only.

    Attributes:
        store: Root of the label store.
        flow: Cache of optical flow.
        superpixels: Cache of super-pixels.

    Raises:
        ConfigError: The folder holds another run.
    """

    def __init__(self, root: str | Path, settings: Mapping[str, Any]) -> None:
        self.root = Path(root)
        sweep_partial(self.root)
        claim_folder(self.root, settings)
        self.store, self.flow, self.superpixels = (self.root / name for name in ("labels", "flow", "superpixels"))

    def round(self, number: int) -> Path:
        """Folder of a round."""
        return self.root / f"round_{number}"

    def tuning(self, number: int) -> Path:
        """Folder of a round's tuning alone."""
        return self.round(number) / "tuning"

    def selection(self, number: int) -> RoundSelection | None:
        """What a round asks for, `None` before it was decided."""
        content = _read(self.round(number) / "selection.json")
        if content is None:
            return None
        rows = content["samples"]
        return RoundSelection(content["budget"], [Sample(*row[:2]) for row in rows], [row[2] for row in rows])

    def keep_selection(self, number: int, selection: RoundSelection) -> None:
        """Write what a round asks for."""
        rows = [[*sample, pixels] for sample, pixels in zip(selection.samples, selection.pixels, strict=True)]
        _write(self.round(number) / "selection.json", {"budget": dict(selection.budget), "samples": rows})

    def scores(self, number: int) -> dict[str, Any] | None:
        """What was noted after a round, `None` before that."""
        return _read(self.round(number) / "scores.json")

    def keep_scores(self, number: int, row: Mapping[str, Any]) -> None:
        """Write what a round led to, and the log of all rounds."""
        _write(self.round(number) / "scores.json", row)
        rows = [self.scores(each) for each in range(number + 1)]
        write_bytes(self.root / "rounds.jsonl", "".join(f"{json.dumps(each)}\n" for each in rows).encode())


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DatasetError(
            "not readable as JSON", path=path, found=str(error), fix="delete it; the run makes it again"
        ) from error
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=None) + "\n").encode())
