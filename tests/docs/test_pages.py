"""What the documentation promises: links lead somewhere, switches exist, the reference shows what the faces offer."""

from __future__ import annotations

import inspect
import re
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, name_of
from thriftseg.cli.options.signatures import Signature, signature_of

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
rooms = pytest.importorskip("api_reference", reason="needs the extra [docs]").rooms
actions = import_module("command_reference").commands

WITHOUT_EXAMPLE = {
    "inference": "Unrecordable load_for load_network load_vos_network read_checkpoint",
    "labels": "Box2SegSegmenter ConceptFinder CutiePropagator HFPropagator SAM2Propagator label_text sync_cvat",
    "lightning_modules": "PropagatorTuning load_box2seg predict_frames train_teacher tune",
    "taxonomies": "IDDClass",
    "workers": "keep_freed_memory",
    "zoo": "ConstructorRecord PromptableVideoNetwork forget_past load_video_network processor_for",
}
"""Public names without an example that runs, by room: it would need foreign weights, a server or a whole training."""
OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "llms.txt")]
LINK = re.compile(r"\]\(((?!https?:|mailto:)[^)#\s]*)(#[^)\s]+)?\)")


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings as GitHub and the site name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*OUTSIDE, *(page for page in PAGES if "docs" in page.parts)], ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    generated = [ROOT / "docs" / name for name in ("reference/cli", "reference/api", "examples")]
    generated += [
        ROOT / "docs/reference/configs.md",
        ROOT / "docs/reference/tables.md",
    ]  # checked when the site is made
    wrong = []
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        if any(target == made or made in target.parents for made in generated):
            continue
        if not target.exists() or (anchor and anchor[1:] not in anchors(target)):
            wrong.append(f"{path}{anchor}")
    assert not wrong


def test_a_page_that_links_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading, with `code`\n")
    assert anchors(tmp_path / "there.md") == {"a-heading-with-code"}
    assert LINK.findall("[a](there.md#x) [b](https://x.org/a) [c](#y)") == [("there.md", "#x"), ("", "#y")]


def everything(signature: Signature) -> set[str]:
    """Names of all options."""
    found = {option.name for option in signature.options}
    return found.union(*({option.name for option in each.options} for _, each in signature.settings.values()))


def test_the_switches_that_bring_a_papers_way_back_exist() -> None:
    page = (ROOT / "docs/methods/deviations.md").read_text(encoding="utf-8")
    homes = {name: room for room, names in rooms().items() for name in names}
    calls = re.findall(r"`(\w+)\(([^`]*)\)`", page)
    assert len(calls) > 6
    for name, arguments in calls:
        found = getattr(import_module(homes[name]), name)
        given = eval(f"dict({arguments})")  # noqa: S307
        inspect.signature(found).bind_partial(**given)
        with suppress(TypeError):  # what has no default is not the matter here
            found(**given)
    options = set().union(*(everything(signature_of(path)) for _, _, path in actions()))
    named = {name.replace("-", "_") for name in re.findall(r"`--(\w[\w-]*)", page)}
    known = options | {"data", "trainer", "model", "lr", "steps"}
    assert named - known == set()


def test_the_settings_that_bring_a_papers_way_back_exist() -> None:
    page = (ROOT / "docs/methods/deviations.md").read_text(encoding="utf-8")
    classes = [getattr(import_module(room), name) for room, names in rooms().items() for name in names]
    annotations: dict[str, set[str]] = {}
    for each in filter(inspect.isclass, classes):
        for parameter in inspect.signature(each.__init__).parameters.values():
            annotations.setdefault(parameter.name, set()).add(str(parameter.annotation))
    settings = re.findall(r"`([a-z_]+): ([^`]+)`", page)
    names = {name for name, _ in settings} | set(re.findall(r"`([a-z]+_(?:start|weight|cache|paths|size))`", page))
    assert len(names) > 10
    assert names <= annotations.keys()
    for name, value in settings:
        choices = [text for text in annotations[name] if "Literal[" in text]
        assert not choices or any(f"'{value}'" in text for text in choices), (name, value)


def test_the_reference_shows_all_that_the_faces_offer_and_nothing_else() -> None:
    for room, names in rooms().items():
        module = import_module(room)
        if hasattr(module, "__path__"):
            assert names == list(module.__all__)
        assert not [name for name in names if name.startswith("_")]


def test_public_names_have_an_example_that_runs() -> None:
    without = set()
    for room, names in rooms().items():
        for name in names:
            value = getattr(import_module(room), name)
            described = inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value))
            if described and ">>>" not in (value.__doc__ or ""):
                without.add(f"{room}.{name}")
    assert without == {f"thriftseg.{room}.{name}" for room, names in WITHOUT_EXAMPLE.items() for name in names.split()}
