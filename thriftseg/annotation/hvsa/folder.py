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
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from thriftseg.annotation.hvsa.budget import BudgetUnit
from thriftseg.annotation.ranking.selection import Sample
from thriftseg.atomic import sweep_partial, write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.folders import claim_folder
from thriftseg.parsing import Amount, Count, Record, check, read_json

PERSON, RESULT = "person", "hvsa"
"""Sources in the label store of a run: labels that were bought, and the labels of all frames."""

_FIX = "delete it; the run makes it again"


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


class _Budget(Record, frozen=True):
    total: Amount
    rounds: Count
    unit: BudgetUnit
    round: Count
    spent: Amount
    samples: Count


class _Selection(Record, frozen=True):
    """The file of a selection; samples are frame, region and unlabelled pixels."""

    budget: _Budget
    samples: list[tuple[Count, Count, Count]]


class RoundShare(msgspec.Struct):
    """What was bought as a share of everything.

    Attributes:
        pixels: Of all pixels of the video.
        clicks: Of the clicks that draw every frame; NaN where nothing tells these.
        boundary_clicks: The same without clicks that choose classes.
    """

    pixels: float
    clicks: float = math.nan
    boundary_clicks: float = math.nan


class FinishedRound(msgspec.Struct):
    """What is noted after a round.

    Attributes:
        round: Its number; 0 is the network as given.
        samples: Samples that were bought up to its end.
        cost: What they cost.
        share: Their share of everything.
        scores: Scores of what the network predicts.
        pasted: Scores with the manual labels put over it.

    Example:
        >>> row = {"round": 1, "samples": 5, "cost": {"seconds": 90.0}, "share": {"pixels": 0.05}}
        >>> found = msgspec.convert({**row, "scores": {"miou": 0.6}, "pasted": {"miou": 0.7}}, FinishedRound)
        >>> found.cost.seconds / found.samples, found.pasted["miou"]
        (18.0, 0.7)
    """

    round: Count
    samples: Count
    cost: AnnotationCost
    share: RoundShare
    scores: dict[str, float | None]
    pasted: dict[str, float | None]


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
        path = self.round(number) / "selection.json"
        if not path.exists():
            return None
        content = read_json(path, _Selection, fix=_FIX)
        samples = [Sample(frame, region) for frame, region, _ in content.samples]
        return RoundSelection(content.budget.to_json(), samples, [pixels for *_, pixels in content.samples])

    def keep_selection(self, number: int, selection: RoundSelection) -> None:
        """Write what a round asks for."""
        rows = [[*sample, pixels] for sample, pixels in zip(selection.samples, selection.pixels, strict=True)]
        _write(self.round(number) / "selection.json", {"budget": dict(selection.budget), "samples": rows})

    def scores(self, number: int) -> dict[str, Any] | None:
        """What was noted after a round, `None` before that."""
        path = self.round(number) / "scores.json"
        if not path.exists():
            return None
        content = read_json(path, dict[str, Any], fix=_FIX)
        check(content, FinishedRound, path, fix=_FIX)
        return content

    def keep_scores(self, number: int, row: Mapping[str, Any]) -> None:
        """Write what a round led to, and the log of all rounds."""
        rows = [*(self.scores(each) for each in range(number)), row]
        write_bytes(self.root / "rounds.jsonl", "".join(f"{json.dumps(each)}\n" for each in rows).encode())
        _write(self.round(number) / "scores.json", row)  # the last: from now on, the round is over


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=None) + "\n").encode())
