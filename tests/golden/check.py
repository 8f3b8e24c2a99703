"""Compare this package with recorded results of the original authors' code.

    python tests/golden/check.py PATH...

evaluates golden files, or every golden in a folder, and prints one line for each. The exit code is 1 when a result
deviates, when a golden is of a model or format that nobody here serves, or holds a key that is not known, and when
pictures or arrays that belong to a golden do not lie beside it: the line names the first of them and says that the
golden was left out.

A file in `tests/golden/adapters` serves goldens. For networks it offers `MODELS`, `build` and `run` (see
`tests.golden.networks.Adapter`). For any other format it offers `serves(golden) -> bool`, which is given the decoded
JSON, and `check(golden, path)`, which yields one `tests.golden.compare.Deviation` for each comparison.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.golden.compare import Deviation  # noqa: E402
from tests.golden.networks import check_network  # noqa: E402
from tests.golden.stated import MissingFile  # noqa: E402

ADAPTERS = ROOT / "tests" / "golden" / "adapters"


@dataclass(frozen=True)
class Verdict:
    """What came out of one golden file.

    Attributes:
        path: The file.
        deviations: Every comparison that was made.
        problem: Why there is no (complete) comparison.
        missing: What the golden needs and does not lie beside it; the rest of the golden was left out.
        seconds: Duration.
    """

    path: Path
    deviations: tuple[Deviation, ...] = ()
    problem: str | None = None
    missing: str | None = None
    seconds: float = 0.0

    @property
    def accepted(self) -> bool:
        return not (self.problem or self.missing) and bool(self.deviations) and self._agrees

    @property
    def left_out(self) -> bool:
        """Whether nothing deviates, but not everything could be compared."""
        return self.missing is not None and self.problem is None and self._agrees

    def __str__(self) -> str:
        status = "ok  " if self.accepted else "left out" if self.left_out else "FAIL"
        return f"{status} {self.path}: {self.problem or self._summary()} ({self.seconds:.1f} s)"

    @property
    def _agrees(self) -> bool:
        return all(entry.accepted for entry in self.deviations)

    def _summary(self) -> str:
        if not self.deviations:
            return self.missing or "nothing was compared"
        if self.missing:
            return f"{self.missing}; the rest is left out, after {len(self.deviations)} comparisons: {self._worst()}"
        return self._worst()

    def _worst(self) -> str:
        worst = max(self.deviations, key=lambda entry: entry.ratio)
        summary = f"largest deviation {worst.ratio:.3f} of the tolerance, at {worst.where}"
        first = next((entry for entry in self.deviations if not entry.accepted), worst)
        return summary if first is worst else f"{summary}; first beyond it: {first.where} ({first.ratio:.3g})"


def main(argv: Sequence[str] | None = None) -> int:
    """Check the files and folders of a command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare this package with recorded results of other code.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="golden file, or folder of golden files")
    accepted = True
    for verdict in check_all(parser.parse_args(argv).paths):
        print(verdict, flush=True)
        accepted &= verdict.accepted
    return 0 if accepted else 1


def check_all(paths: Iterable[Path]) -> Iterator[Verdict]:
    """Check files, and every JSON file in folders."""
    for path in paths:
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not files:
            yield Verdict(path, problem="no golden in this folder")
        yield from map(check_file, files)


def check_file(path: Path) -> Verdict:
    """Check one golden file."""
    start = time.perf_counter()
    try:
        golden = json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        return Verdict(path, problem=f"no JSON file ({error})")
    deviations, problem, missing = [], None, None
    try:
        deviations.extend(check(golden, path))
    except MissingFile as error:
        missing = error.told_from(path.parent)
    except Exception as error:  # a golden may hold anything, and the next one still counts
        problem = f"{type(error).__name__}: {error}".replace("\n", " ")
    return Verdict(path, tuple(deviations), problem, missing, time.perf_counter() - start)


def check(golden: Any, path: Path) -> Iterable[Deviation]:
    """Compare with a golden.

    Args:
        golden: Decoded JSON.
        path: Its file; data that belong to it lie beside it.

    Raises:
        ValueError: Nobody serves this format or model.
    """
    adapters, broken = load_adapters()
    serving = [adapter for adapter in adapters if _serves(adapter, golden)]
    if len(serving) == 1:
        own = getattr(serving[0], "check", None)
        return own(golden, path) if own else check_network(golden, serving[0])
    if serving:
        raise ValueError(f"served by {' and '.join(adapter.__name__ for adapter in serving)}")
    problem = "unknown format"
    if isinstance(golden, dict) and "model" in golden:
        known = sorted(model for adapter in adapters for model in getattr(adapter, "MODELS", ()))
        problem = f"unknown model {golden['model']!r}, expected one of {', '.join(known)}"
    raise ValueError("; ".join([problem, *broken]))


def load_adapters() -> tuple[list[ModuleType], list[str]]:
    """The modules in the folder of adapters, and why others cannot be imported (what they need may be optional)."""
    modules, broken = [], []
    for path in sorted(ADAPTERS.glob("*.py")):
        try:
            modules.append(importlib.import_module(f"tests.golden.adapters.{path.stem}"))
        except ImportError as error:
            broken.append(f"{path.name} cannot be imported ({error})")
    return modules, broken


def _serves(adapter: ModuleType, golden: Any) -> bool:
    if hasattr(adapter, "MODELS"):
        return isinstance(golden, dict) and golden.get("model") in adapter.MODELS
    return bool(adapter.serves(golden))


if __name__ == "__main__":
    sys.exit(main())
