"""What a function or settings class takes, read from its source: importing it may load libraries that take seconds."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

_TYPED: dict[str, Any] = {"Path": str, "Mapping": dict, "Sequence": list, "Collection": list}
"""What a command line or a YAML file holds in place of these types."""
_PACKAGE = Path(__file__).resolve().parents[3]
_Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        name: Name of the parameter.
        annotation: Its type; a class that is no settings class counts as text, which may name it.
        default: Its default; `MISSING` where it is required.
        description: Its description, one line.
        positional: Whether it is given by its place.
    """

    name: str
    annotation: Any
    default: Any
    description: str
    positional: bool = False


@dataclass(frozen=True)
class Signature:
    """What a function or settings class takes.

    Attributes:
        summary: First sentence of its docstring, without the full stop.
        options: Its parameters, with those of a function that it hands its `**options` to.
        settings: Parameters that are settings classes: full path and signature of the class.
    """

    summary: str
    options: tuple[Option, ...]
    settings: dict[str, tuple[str, Signature]]


def signature_of(path: str) -> Signature:
    """Signature of a function or a settings class.

    Args:
        path: Its full path, or that of the face that offers it.

    Example:
        >>> found = signature_of("thriftseg.labels.RefineRule")
        >>> found.summary, [option.name for option in found.options]
        ('How refined masks are written back into a coarse label map', ['shrink', 'beyond', 'gate'])
    """
    module, _, name = path.rpartition(".")
    home, found = _module(module).find(name)
    return home.signature(_definition(found))


class _Parameter(NamedTuple):
    name: str
    annotation: ast.expr
    default: ast.expr | None
    positional: bool = False


class _Module:
    """A file of this package, which is read and not run."""

    def __init__(self, name: str) -> None:
        path = _PACKAGE.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        self.name = name
        self._names = dict(_names(ast.parse(path.read_text(encoding="utf-8"))))

    def find(self, name: str) -> tuple[_Module, ast.AST | tuple[str, str] | None]:
        """The module that defines a name and its definition there; where another library does, its module and name."""
        found = self._names.get(name)
        if isinstance(found, tuple) and found[0].split(".")[0] == "thriftseg":
            return _module(found[0]).find(found[1])
        return self, found

    def signature(self, node: _Definition, left_out: Collection[str] = ()) -> Signature:
        """Signature of a function or class of this module, without some parameters."""
        from docstring_parser import parse

        docstring = parse(ast.get_docstring(node) or "")
        described = {entry.arg_name: _one_line(entry.description) for entry in docstring.params}
        options: list[Option] = []
        settings: dict[str, tuple[str, Signature]] = {}
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                home, found = self.find(ast.unparse(base))
                if isinstance(found, ast.ClassDef):
                    inherited = home.signature(found)
                    for option in inherited.options:
                        options.append(replace(option, description=described.get(option.name, option.description)))
                    settings |= inherited.settings
        for each in _parameters(node):
            if each.name in left_out:
                continue
            home, found = self.find(ast.unparse(each.annotation).removesuffix(" | None"))
            if isinstance(found, ast.ClassDef) and found.decorator_list:
                settings[each.name] = (f"{home.name}.{found.name}", home.signature(found))
                continue
            default = MISSING if each.default is None else self._value(each.default)
            if isinstance(default, Field):
                default = default.default if default.default_factory is MISSING else default.default_factory()
            default = list(default) if isinstance(default, tuple) and not default else default
            description = described.get(each.name, "")
            options.append(Option(each.name, self._value(each.annotation), default, description, each.positional))
        for home, function, given in self._forwarded(node):
            own = {*settings, *(option.name for option in options)}
            forwarded = home.signature(function, {*given, *own, *left_out})
            options += forwarded.options
            settings |= forwarded.settings
        return Signature(_one_line(docstring.short_description), tuple(options), settings)

    def _forwarded(self, node: _Definition) -> Iterator[tuple[_Module, _Definition, list[str]]]:
        """The functions that a function hands its `**options` to, and the parameters that it gives beside."""
        if isinstance(node, ast.ClassDef) or node.args.kwarg is None:
            return
        local = {**self._names, **dict(_names(node))}
        for call in ast.walk(node):
            if not isinstance(call, ast.Call):
                continue
            handed = {ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg is None}
            if node.args.kwarg.arg not in handed:
                continue
            name, _, attribute = ast.unparse(call.func).partition(".")
            source = local[name]
            if isinstance(source, tuple):
                module = f"{source[0]}.{source[1]}" if attribute else source[0]
                home, found = _module(module).find(attribute or source[1])
            else:
                home, found = self, source
            taker = _definition(found)
            by_place = [each.name for each in _parameters(taker)][: len(call.args)]
            given = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
            yield home, taker, [*by_place, *given]

    def _value(self, node: ast.expr) -> Any:
        names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        return eval(  # noqa: S307 # nosec B307 (types and defaults of our own source)
            compile(ast.Expression(node), self.name, "eval"), {name: self._named(name) for name in names}
        )

    def _named(self, name: str) -> Any:
        if name in _TYPED:
            return _TYPED[name]
        home, found = self.find(name)
        if isinstance(found, tuple):
            module = import_module(found[0])
            return getattr(module, found[1]) if found[1] else module
        if isinstance(found, ast.expr):
            return home._value(found)
        if isinstance(found, ast.ClassDef):
            return getattr(import_module(home.name), name) if found.decorator_list else str
        return getattr(builtins, name)


@functools.cache
def _module(name: str) -> _Module:
    return _Module(name)


def _definition(found: object) -> _Definition:
    if not isinstance(found, _Definition):
        raise TypeError(f"neither a function nor a class of this package: {found}")
    return found


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).removesuffix(".")


def _names(tree: ast.AST) -> Iterator[tuple[str, ast.AST | tuple[str, str]]]:
    """What the statements of a file or function define; an import as module and name, or module alone."""
    for node in getattr(tree, "body", ()):
        if isinstance(node, _Definition):
            yield node.name, node
        elif isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, (alias.name, "")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, (str(node.module), alias.name)) for alias in node.names)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _names(node)


def _parameters(node: _Definition) -> list[_Parameter]:
    if isinstance(node, ast.ClassDef):
        return [
            _Parameter(each.target.id, each.annotation, each.value)
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        ]
    arguments = node.args
    by_place = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(by_place) - len(arguments.defaults)) + arguments.defaults
    pairs = [*zip(by_place, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [
        _Parameter(each.arg, each.annotation or ast.Constant(None), default, each in arguments.posonlyargs)
        for each, default in pairs
    ]
