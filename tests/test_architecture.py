"""The rooms of the package may only import downwards."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "thriftseg"

ROWS = {
    "errors": 0,
    "types": 0,
    "arrays": 0,
    "atomic": 0,
    "lazy": 0,
    "taxonomies": 0,
    "costs": 0,
    "progress": 0,
    "resources": 0,
    "flow": 1,
    "losses": 1,
    "metrics": 1,
    "drawing": 1,
    "zoo": 2,
    "datasets": 2,
    "labels": 3,
    "datamodules": 3,
    "lightning_modules": 3,
    "annotation": 4,
    "reports": 4,
    "quickstart": 5,
    "cli": 6,
}
SAME_ROW = {("losses", "flow"), ("metrics", "flow")}  # both may warp


def room_of(module: str) -> str | None:
    """`thriftseg.datasets.camvid` -> `datasets`; `None` for the package itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "thriftseg" and len(parts) > 1 else None


def imports_of(path: Path) -> list[tuple[int, str]]:
    """All rooms of ours a file imports, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            base = node.module or ""
            modules = [f"{base}.{alias.name}" for alias in node.names] if base == "thriftseg" else [base]
        else:
            continue
        found += [(node.lineno, room) for module in modules if (room := room_of(module)) is not None]
    return found


def forbidden(importer: str, imported: str) -> bool:
    if importer == imported or imported.startswith("__"):
        return False
    if ROWS[importer] == 0 and ROWS[imported] == 0:
        return imported not in {"errors", "types", "arrays"}
    return ROWS[imported] >= ROWS[importer] and (importer, imported) not in SAME_ROW


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_lower_rooms(path: Path):
    relative = path.relative_to(PACKAGE)
    importer = relative.parts[0].removesuffix(".py")
    if importer in {"__init__", "__main__", "checkpoints", "configs"}:
        return
    bad = [f"line {line}: {importer} imports {room}" for line, room in imports_of(path) if forbidden(importer, room)]
    assert not bad, bad


def test_every_room_has_a_row():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__main__", "__pycache__", "py.typed", "checkpoints", "configs"} <= set(ROWS)


def test_the_rule_catches_an_upward_import():
    assert forbidden("datasets", "zoo")
    assert forbidden("zoo", "lightning_modules")
    assert forbidden("metrics", "losses")
    assert not forbidden("losses", "flow")
    assert not forbidden("cli", "zoo")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("thriftseg", ("torch", "lightning", "numpy", "cv2")),
        ("thriftseg.datasets", ("torch", "lightning")),
        ("thriftseg.zoo", ("lightning", "torchmetrics")),
        ("thriftseg.inference.checkpoints", ("lightning", "torchmetrics")),
        ("thriftseg.inference.prediction", ("lightning", "torchmetrics")),
        ("thriftseg.cli.main", ("torch", "lightning", "cv2")),
    ],
)
def test_import_stays_light(module: str, absent: tuple[str, ...]):
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
