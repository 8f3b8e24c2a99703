"""The API reference: a page per room, written from its face; names are found by where the face offers them."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx

import thriftseg

PACKAGE = Path(thriftseg.__file__).parent
LONGEST_VALUE = 100
"""Characters of a constant that the reference shows."""


@cache
def rooms() -> dict[str, list[str]]:
    """Public names by room: those of faces, and what the files beside them define."""
    found = {}
    for path in sorted(PACKAGE.iterdir()):
        if path.name.startswith("_") or not (path.suffix == ".py" or (path / "__init__.py").is_file()):
            continue
        module = import_module(f"thriftseg.{path.stem}")
        found[module.__name__] = list(module.__all__) if path.is_dir() else _defined(module)
    return found


def _defined(module: ModuleType) -> list[str]:
    """Public classes, functions and documented constants of a file."""
    documented = {name for name, _, described in _constants(module.__name__) if described}
    own = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return [name for name in vars(module) if name in documented | own and not name.startswith("_")]


def _constants(module: str) -> list[tuple[str, str, str]]:
    """Names that a file assigns to, with the source of their values and the text below them."""
    body = ast.parse(Path(str(import_module(module).__file__)).read_text(encoding="utf-8")).body
    found = []
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            text = after.value if isinstance(after, ast.Expr) else None
            described = str(text.value) if isinstance(text, ast.Constant) else ""
            found.append((target.id, ast.unparse(node.value), inspect.cleandoc(described)))
    return found


@cache
def homes() -> dict[str, str]:
    """Path in a face by public name, of which each stands once in the package, and by where the code is."""
    found = {}
    for room, names in rooms().items():
        for name in names:
            value = getattr(import_module(room), name)
            found[name] = found[f"{getattr(value, '__module__', room)}.{name}"] = f"{room}.{name}"
    return found


def write_pages(app: Sphinx) -> None:
    """Write `reference/api/<room>.rst` and its index, those that have changed alone."""
    folder = Path(app.srcdir) / "reference" / "api"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {room.rpartition(".")[2]: _page(room, names) for room, names in rooms().items()}
    summaries = [f":doc:`thriftseg.{name} <{name}>`\n   {_summary(f'thriftseg.{name}')}\n" for name in pages]
    toc = [".. toctree::", "   :hidden:", "", *(f"   thriftseg.{name} <{name}>" for name in pages)]
    pages["index"] = "\n".join(["API by room", "===========", "", *summaries, *toc, ""])
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _summary(module: str) -> str:
    return (import_module(module).__doc__ or "").partition("\n")[0]


def _page(room: str, names: list[str]) -> str:
    module = import_module(room)
    lines = [room, "=" * len(room), "", f".. automodule:: {room}", "   :no-members:", ""]
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Values and types": [], "Modules": []}
    for name in names:
        value = getattr(module, name)
        path = f"{room}.{name}"
        if inspect.ismodule(value):
            kinds["Modules"] += [f".. automodule:: {path}", "   :members:", ""]
        elif inspect.isclass(value) and value.__name__ == name:
            directive = "autoexception" if issubclass(value, BaseException) else "autoclass"
            kinds["Classes"] += [f".. {directive}:: {path}", "   :members:", "   :show-inheritance:", ""]
        elif inspect.isfunction(inspect.unwrap(value)) and not isinstance(value, type):
            kinds["Functions"] += [f".. autofunction:: {path}", ""]
        else:
            kinds["Values and types"] += _constant(room, name)
    for title, entries in kinds.items():
        if entries:
            lines += [title, "-" * len(title), "", *entries]
    return "\n".join(lines)


def _constant(room: str, name: str) -> list[str]:
    """A constant or an alias of types, with what stands behind it where that is short."""
    home = room
    face = PACKAGE.joinpath(*room.split(".")[1:], "__init__.py")
    if face.is_file():
        imports = [node for node in ast.walk(ast.parse(face.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        home = next(str(node.module) for node in imports if name in [alias.name for alias in node.names])
    unknown = repr(getattr(import_module(room), name)), ""
    value, described = next(((value, text) for found, value, text in _constants(home) if found == name), unknown)
    lines = [f".. py:data:: {name}", f"   :module: {room}"]
    if len(value) <= LONGEST_VALUE:
        lines += [f"   :value: {value}"]
    return [*lines, "", *(f"   {line}" for line in as_rst(described.splitlines())), ""]


def as_rst(lines: list[str]) -> list[str]:
    """Docstrings are plain text with code between backticks and formulas: the same as reStructuredText."""
    text = re.sub(
        r"\\\((.+?)\\\)|(?<![\w`$])\$([^$`]+?)\$(?![\w$])",
        lambda found: f":math:`{' '.join((found[1] or found[2]).split())}`",
        "\n".join(lines),
        flags=re.DOTALL,
    )
    text = re.sub(
        r"^( *)\$\$(.+?)\$\$",
        lambda found: f"\n{found[1]}.. math:: {' '.join(found[2].split())}\n",
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    text = re.sub(r"(?:(?<=\n\n)|\A)\[\d\] (?:.+\n?)+", _listed, text)
    text = re.sub(r":(\n\n( *) {4}[^\s>])", r"::\1", text)  # what is indented below is code
    found: list[str] = []
    literal = False
    for line in text.split("\n"):
        literal = line.lstrip().startswith(">>>") or (literal and bool(line.strip()))
        parts = [line] if literal or line.lstrip().startswith(".. math") else re.split(r"(`[^`]*`)", line)
        if len(parts) > 1 or not (literal or ".. math" in line):
            parts[::2] = [re.sub(r"(?<!^)(?<!\\)[*|]|(?<=\w)_(?=\W|$)", r"\\\g<0>", part) for part in parts[::2]]
        found.append("".join(parts))
    return found


def _listed(paragraph: re.Match[str]) -> str:
    """What a docstring cites, as a list."""
    return re.sub(
        r"^(\[\d\] )?\s*(?=\S)", lambda line: f"- {line[1]}" if line[1] else "  ", paragraph[0], flags=re.MULTILINE
    )


def _escape_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst(lines)


def _code_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = ()
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """`code` between backticks, linked where it is the name of something public."""
    text = rawtext.strip("`").replace("\\", "") if rawtext.startswith("`") else text
    literal = nodes.literal(rawtext, text)
    target = homes().get(text) if re.search(r"[A-Z_.]", text) else None
    if target is None:
        return [literal], []
    reference = addnodes.pending_xref(
        rawtext, refdomain="py", reftype="obj", reftarget=target, refwarn=False, refexplicit=True
    )
    reference += literal
    return [reference], []


def _find(app: Sphinx, env: Any, node: addnodes.pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """What a type in a signature is called where it is public; what is not is named without a link."""
    target = str(node.get("reftarget", ""))
    module, _, name = target.rpartition(".")
    public = homes().get(target) or homes().get(name)
    if node.get("refdomain") != "py" or public == target:
        return None
    if public is None:
        ours = module.startswith("thriftseg.") and module not in rooms()
        return contnode if ours and hasattr(import_module(module), name) else None
    return env.get_domain("py").resolve_xref(  # type: ignore[no-any-return]
        env, node["refdoc"], app.builder, "obj", public, node, contnode
    )


def _without_tree(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Pages of source have no tree of the site, which would take longer than all other pages."""
    if page.startswith("_modules/"):
        context["toctree"] = lambda **_: ""


def _formula(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """As MathML, which browsers draw without a script."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(re.sub(r"\\[Bb]igg?(?=[()|])", "", node.astext()), as_block=block))
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("code-or-name", _code_role)
    app.config.default_role = "code-or-name"
    app.add_html_math_renderer("mathml", inline_renderers=(_formula, None), block_renderers=(_formula, None))
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", _escape_docstring, priority=400)  # before napoleon
    app.connect("missing-reference", _find)
    app.connect("html-page-context", _without_tree, priority=400)  # before the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
