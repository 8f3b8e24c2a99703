"""The rules of the house: who may import whom, through which door, and that a listing can be read at a glance."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.hostile.parsers import PARSERS

PACKAGE = Path(__file__).resolve().parent.parent / "thriftseg"

ROWS = [
    {"errors", "types", "arrays", "atomic", "taxonomies", "costs", "progress", "resources"}
    | {"lazy", "limits", "parsing", "pixels", "regions", "folders", "shards"},
    {"flow", "losses", "metrics", "drawing", "workers"},
    {"zoo", "datasets"},
    {"stores", "synthetic", "inference"},
    {"exchange"},
    {"labels", "datamodules", "lightning_modules"},
    {"annotation"},
    {"reports"},
    {"quickstart"},
    {"cli"},
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
MAY_WARP = {("losses", "flow"), ("metrics", "flow")}
FOLDER_LIMIT = 16
DECIDES_ON_SOURCES = "stores/label_source.py"
NO_SOURCES = {
    "labels/boxes/masks.py": "how a mask was made",
    "reports/run_scores.py": "a field of a JSON file",
}
"""Files in which "manual" or "coarse" means something else than a source of labels."""
OPENING_NAMES = {
    *("read_bytes", "read_text", "read_lines", "read_json", "read_json_lines", "read_yaml", "read_csv", "read_xml"),
    *("decode_arrays", "decode_image", "open_image", "load_file", "safe_open", "fromfile"),
}
OPENING_CALLS = {
    *("json.load", "json.loads", "yaml.load", "yaml.safe_load", "csv.reader", "csv.DictReader", "pickle.load"),
    *("np.load", "torch.load", "Image.open", "cv2.imread", "cv2.VideoCapture", "zipfile.ZipFile", "av.open"),
    *("ElementTree.parse", "ElementTree.fromstring", "msgspec.json.decode"),
}
LOGS = {"self._lines", "self._log", "self._manifest"}
"""What functions that open a file call; the last ones are manifests, which are read by `read`."""
_COPIES, _OWN, _SYSTEM = (
    "takes the bytes as they are",
    "the package itself wrote it",
    "a file of the system or of Python",
)
NO_READERS = {
    "annotation/eva_vos/split.py:write_lists": _COPIES,
    "annotation/hvsa/all_videos.py:annotate_videos": _COPIES,
    "annotation/page/serving.py:_token": "a secret of its own, made anew where it is not one",
    "cli/options/signatures.py:_Module.__init__": _SYSTEM,
    "datamodules/shards.py:_Entry.open": _COPIES,
    "datasets/images.py:frame_bytes": _COPIES,
    "datasets/tools/vos_check.py:_shared_footage": _COPIES,
    "folders.py:sole_writer": "a lock, of which it shows two words",
    "labels/clicking/generate.py:_digest": _COPIES,
    "labels/propagation/again.py:Repropagation._correction": _COPIES,
    "lazy.py:face": _SYSTEM,
    "lightning_modules/base.py:TrainingModule.load_from_checkpoint": "Lightning's own loader, with Lightning's errors",
    "reports/annotation/page.py:_page": _COPIES,
    "reports/publishing/publish.py:_install": _COPIES,
    "reports/publishing/publish.py:_entry": _OWN,
    "reports/scoring/pairing.py:_same_bytes": _COPIES,
    "reports/sweeps.py:SweepTask.finished_command": "a log, in which it looks for a line of its own",
    "resources.py:_cpu_quotas": _SYSTEM,
    "zoo/mmseg.py:_model_section": "a config of mmsegmentation is a program, which the user runs",
    "zoo/profiling.py:_name_of": _SYSTEM,
    "zoo/weights/official.py:import_checkpoint": _COPIES,
}
"""Functions that open a file without making sense of what a user has written into it."""
COMMAND_PROTOCOL = {"run", "declare", "add_arguments", "main"}
"""Functions that every module of a command offers."""


def room_of(module: str) -> str:
    """`thriftseg.datasets.camvid` -> `datasets`; empty for the package itself."""
    room = module.partition(".")[2].partition(".")[0]
    return "cli" if room == "__main__" else room


@dataclass(frozen=True)
class Import:
    """`from module import name`, or `import module` with an empty name."""

    line: int
    module: str
    name: str = ""


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    path: Path
    module: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return room_of(self.module)

    @property
    def is_face(self) -> bool:
        return self.path.name == "__init__.py" and self.module.count(".") == 1

    def imports(self) -> Iterator[Import]:
        """Everything of ours that the file imports, also inside functions."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found = [Import(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: relative import"
                found = [Import(node.lineno, node.module or "", alias.name) for alias in node.names]
            else:
                continue
            yield from (item for item in found if item.module.split(".")[0] == "thriftseg")


class House:
    """All files of a package, parsed once."""

    def __init__(self, package: Path) -> None:
        self.package = package
        self.sources = [
            Source(path, ".".join(["thriftseg", *self._parts(path)]), ast.parse(path.read_text()))
            for path in sorted(package.rglob("*.py"))
        ]
        self.modules = {source.module: source for source in self.sources}
        self.faces = {
            source.room: {item.name: item.module for item in source.imports() if item.module != "thriftseg.lazy"}
            for source in self.sources
            if source.is_face
        }

    def _parts(self, path: Path) -> list[str]:
        parts = list(path.relative_to(self.package).with_suffix("").parts)
        return parts[:-1] if parts[-1] == "__init__" else parts

    def target(self, item: Import) -> str:
        """Module that an import ends in, seen through faces."""
        inner = f"{item.module}.{item.name}"
        parts = item.module.split(".")
        if len(parts) == 2 and item.name in self.faces.get(parts[1], {}):
            home = self.faces[parts[1]][item.name]
            return f"{home}.{item.name}" if f"{home}.{item.name}" in self.modules else home
        return inner if inner in self.modules else item.module

    def crossings(self) -> Iterator[tuple[Source, Import, str]]:
        """Imports of one room by another: the file, what it imports, and the room of that."""
        for source in self.sources:
            for item in source.imports():
                room = room_of(f"{item.module}.{item.name}")
                if source.room in ROW_OF and room in ROW_OF and room != source.room:
                    yield source, item, room


def rooms_have_a_row(house: House) -> Iterator[str]:
    for source in house.sources:
        if source.room and source.room not in ROW_OF and not source.room.startswith("__"):
            yield f"{source.path}: no row for the room {source.room}"


def rows_hold(house: House) -> Iterator[str]:
    for source, item, room in house.crossings():
        importer = source.room
        same_base = ROW_OF[importer] == ROW_OF[room] == 0
        if not same_base and ROW_OF[room] >= ROW_OF[importer] and (importer, room) not in MAY_WARP:
            yield f"{source.path}:{item.line}: {importer} imports {room}"


def rooms_meet_at_faces(house: House) -> Iterator[str]:
    for source, item, room in house.crossings():
        if room in house.faces and item.module != f"thriftseg.{room}" and item.module != "thriftseg":
            yield f"{source.path}:{item.line}: imports {item.module} past the face of {room}"
        elif room in house.faces and item.name and item.module != "thriftseg" and item.name not in house.faces[room]:
            yield f"{source.path}:{item.line}: the face of {room} does not offer {item.name}"


def nothing_runs_in_circles(house: House) -> Iterator[str]:
    graph: dict[str, set[str]] = defaultdict(set)
    for source in house.sources:
        if source.is_face:
            continue
        targets = {house.target(item) for item in source.imports()}
        graph[source.module] |= {name for name in targets - {source.module} if not house.modules[name].is_face}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " -> ".join(error.args[1])


def public_names_exist_once(house: House) -> Iterator[str]:
    homes = defaultdict(set)
    for source in house.sources:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes[node.name].add(source.module)  # once, however often it is overloaded
    for name, modules in sorted(homes.items()):
        if len(modules) > 1 and not (name in COMMAND_PROTOCOL and all(".cli" in module for module in modules)):
            yield f"{name} is defined in {', '.join(sorted(modules))}"
    offered = Counter(name for face in house.faces.values() for name in face)
    yield from (f"{name} is offered by {count} faces" for name, count in offered.items() if count > 1)


def aliases_and_constants_exist_once(house: House) -> Iterator[str]:
    """An alias of a type by its name; a constant by name and value, as a name such as `FORMAT` may say two things."""
    homes = defaultdict(list)
    for source in house.sources:
        for node in source.tree.body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            name, value = node.targets[0].id, ast.unparse(node.value)
            if name.isupper() and isinstance(node.value, ast.Constant | ast.Tuple):
                homes[f"{name} = {value}"].append(source.module)
            elif not name.isupper() and name[0].isupper() and not value.startswith("TypeVar("):
                homes[name].append(source.module)
    for name, modules in homes.items():
        if len(modules) > 1 and not name.startswith("_"):
            yield f"{name} is defined in {', '.join(modules)}"


def listings_are_short(house: House) -> Iterator[str]:
    counts = Counter(source.path.parent for source in house.sources)
    yield from (f"{folder}: {count} files" for folder, count in counts.items() if count > FOLDER_LIMIT)
    for source in house.sources:
        stem, folder = source.path.stem, source.path.parent.name
        if source.path.parent != house.package and (stem == folder or stem.startswith(f"{folder}_")):
            yield f"{source.path} repeats the name of its folder"


def _names_a_given_source(node: ast.AST | None, constants: set[str]) -> bool:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(_names_a_given_source(element, constants) for element in node.elts)
    if isinstance(node, ast.Name):
        return node.id in constants
    return isinstance(node, ast.Constant) and node.value in ("manual", "coarse")


def one_file_knows_what_a_source_is(house: House) -> Iterator[str]:
    """No comparison with "manual" or "coarse", look-up by them, or second constant for them beside LabelSource."""
    for source in house.sources:
        place = source.path.relative_to(house.package).as_posix()
        if place in {DECIDES_ON_SOURCES, *NO_SOURCES}:
            continue
        constants = {
            item.name
            for item in source.imports()
            if room_of(item.module) == "stores" and item.name in ("MANUAL", "COARSE", "GIVEN_SOURCES")
        }
        for node in ast.walk(source.tree):
            compared: list[ast.AST | None] = []
            if isinstance(node, ast.Compare):
                compared = [node.left, *node.comparators]
            elif isinstance(node, ast.Dict):  # one such key alone is a setting or a command
                keys = [key for key in node.keys if _names_a_given_source(key, constants)]
                compared = [*keys] if len(keys) > 1 else []
            elif isinstance(node, ast.Subscript):
                compared = [node.slice]
            elif isinstance(node, ast.MatchValue | ast.Assign):
                compared = [node.value]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                compared = [*node.args[:1]]
            if any(_names_a_given_source(each, constants) for each in compared):
                yield f"{source.path}:{node.lineno}: ask LabelSource what the name of a source means"


def _reads_a_file(call: ast.Call) -> bool:
    """Whether a call opens a file for reading, as far as its name tells."""
    name = ast.unparse(call.func)
    texts = [node.value for node in [*call.args, *(keyword.value for keyword in call.keywords)]
             if isinstance(node, ast.Constant) and isinstance(node.value, str)]  # fmt: skip
    if any(text[:1] in "wax" and len(text) <= 3 for text in texts if text):
        return False
    if name == "open" or (name.endswith(".open") and any(text[:1] == "r" for text in texts)):
        return True
    owner, _, last = name.rpartition(".")
    return name in OPENING_CALLS or last in OPENING_NAMES or (last == "read" and owner in LOGS)


def opening_functions(house: House) -> dict[str, str]:
    """Functions and methods that open a file, as `<file below the package>:<name>`, and where they stand."""
    found = {}
    for source in house.sources:
        place = source.path.relative_to(house.package).as_posix()
        for owner in (source.tree, *(node for node in source.tree.body if isinstance(node, ast.ClassDef))):
            prefix = f"{owner.name}." if isinstance(owner, ast.ClassDef) else ""
            for node in owner.body:
                calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
                if isinstance(node, ast.FunctionDef) and any(map(_reads_a_file, calls)):
                    found[f"{place}:{prefix}{node.name}"] = f"{source.path}:{node.lineno}"
    return found


def readers_are_fed_damaged_files(house: House) -> Iterator[str]:
    """What opens a file of a user is in the table of `tests/hostile/parsers.py`."""
    known = {name for parser in PARSERS for name in parser.opens}
    for name, place in opening_functions(house).items():
        if name not in known and name not in NO_READERS and not name.startswith("parsing/"):
            yield f"{place}: {name} opens a file and is not in the table of tests/hostile/parsers.py"


RULES = [
    readers_are_fed_damaged_files,
    one_file_knows_what_a_source_is,
    rooms_have_a_row,
    rows_hold,
    rooms_meet_at_faces,
    nothing_runs_in_circles,
    public_names_exist_once,
    aliases_and_constants_exist_once,
    listings_are_short,
]


@pytest.fixture(scope="module")
def house() -> House:
    return House(PACKAGE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(house: House, rule):
    offences = list(rule(house))
    assert not offences, "\n".join(offences)


BREACHES = {
    readers_are_fed_damaged_files: {"zoo/a.py": "class A:\n    def read(self, path): return path.read_bytes()"},
    one_file_knows_what_a_source_is: {
        "labels/fill.py": "from thriftseg.stores import MANUAL\ndef f(source): return source in {MANUAL, 'flow'}"
    },
    rooms_have_a_row: {"attic.py": ""},
    rows_hold: {"zoo/__init__.py": "", "datasets/base.py": "from thriftseg.zoo import STM"},
    rooms_meet_at_faces: {"zoo/__init__.py": "", "labels/fill.py": "from thriftseg.zoo.network import Network"},
    nothing_runs_in_circles: {
        "zoo/a.py": "from thriftseg.zoo.b import B",
        "zoo/b.py": "def f():\n    from thriftseg.zoo.a import A",
    },
    public_names_exist_once: {"zoo/a.py": "class A: ...", "flow/a.py": "def A(): ..."},
    aliases_and_constants_exist_once: {"zoo/a.py": "Size = tuple[int, int]", "flow/a.py": "Size = tuple[int, int]"},
    listings_are_short: {"zoo/zoo_network.py": ""},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_catches_a_breach(tmp_path: Path, rule):
    for name, content in BREACHES[rule].items():
        path = tmp_path / "thriftseg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert list(rule(House(tmp_path / "thriftseg")))


def test_the_table_of_readers_is_no_longer_than_it_must_be(house: House):
    opened = opening_functions(house)
    named = {name for parser in PARSERS for name in parser.opens}
    assert sorted((named | NO_READERS.keys()) - opened.keys()) == []
    assert sorted(named & NO_READERS.keys()) == []


def test_the_guide_shows_the_rows():
    guide = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = [re.findall(r"`(\w+)`", line.split("|")[2]) for line in guide.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [set(rooms) for rooms in shown] == ROWS


LIGHT = [
    ("thriftseg", ("torch", "lightning", "numpy", "cv2")),
    ("thriftseg.cli.main", ("torch", "lightning", "cv2")),
    ("thriftseg.datasets, thriftseg.stores, thriftseg.exchange", ("torch", "lightning")),
    ("thriftseg.labels.review.inspect", ("torch", "lightning")),
    ("thriftseg.zoo, thriftseg.inference", ("lightning", "torchmetrics")),
    ("thriftseg.inference.prediction", ("lightning", "torchmetrics")),
]
"""Modules, and libraries that are not there after their import; the least may be there first."""


def test_imports_stay_light():
    code = f"""
import sys
for modules, absent in {LIGHT!r}:
    exec(f"import {{modules}}")
    print(modules, [name for name in absent if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [f"{modules} []" for modules, _ in LIGHT]
