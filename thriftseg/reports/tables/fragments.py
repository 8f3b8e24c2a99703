"""Named pieces that configs are put together from, and how trees of settings are merged."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from thriftseg.errors import ConfigError
from thriftseg.parsing import Record, read_yaml

Tree = Mapping[str, Any]


class Fragment(Record, frozen=True):
    """What a row, or a piece that several rows name, adds to a config.

    Settings, commands and values may hold `$word`, which stands for the value of that name. Besides `values`, these are
    the row's own entries, such as `$run`, the name of the `$table`, and `$name`, the folder of the run.

    Attributes:
        base: Config that is changed, a file of `configs/bases` without suffix; or the path of a file of your own, from
            the folder of the table.
        uses: Fragments that come before this one.
        without: Settings that are taken away, by dotted paths.
        settings: Settings that are merged over those so far. Keys may be dotted paths, and as on the command line,
            `model.network.depth` leaves out the `init_args` of a class.
        values: What such words stand for; later ones win.
        needs: Commands whose outcome the training reads.
        then: Commands that follow the training.
        give: Options that nobody but the user knows, such as `--data.dataset.root DIR`.

    Example:
        >>> named = {"short": Fragment(settings={"trainer.max_steps": 300}), "clicks": Fragment("own", uses=("short",))}
        >>> [fragment.base for fragment in named["clicks"].flattened(named)]
        [None, 'own']
    """

    base: str | None = None
    uses: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    settings: Tree = msgspec.field(default_factory=dict)
    values: Tree = msgspec.field(default_factory=dict)
    needs: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    give: tuple[str, ...] = ()

    def flattened(self, named: Mapping[str, Fragment]) -> Iterator[Fragment]:
        """The fragments that it uses, and those that they use, before itself.

        Args:
            named: Fragments by name.

        Raises:
            ConfigError: It uses a fragment that there is not.
        """
        for name in self.uses:
            if name not in named:
                raise ConfigError("no such fragment", expected=", ".join(named), found=name)
            yield from named[name].flattened(named)
        yield self


def load_yaml(path: Path) -> Any:
    """Content of a YAML file, read once as long as it does not change.

    Args:
        path: The file.

    Raises:
        ConfigError: It is no YAML.
    """
    return _load_yaml(path, path.stat().st_mtime_ns if path.exists() else 0)


@functools.cache
def _load_yaml(path: Path, changed: int) -> Any:
    return read_yaml(path, dict[str, Any], fault=ConfigError, nan=True)


def merge_trees(below: Any, above: Any) -> Any:
    """Settings with others over them: mappings are merged, all else is replaced, and so is one class by another.

    Args:
        below: Settings.
        above: Settings that win. Keys may be dotted paths, and leave out `init_args` where `below` names a class.

    Example:
        >>> below = {"model": {"class_path": "M", "init_args": {"depth": 18, "width": 64}}, "steps": 5}
        >>> merge_trees(below, {"model.depth": 50})
        {'model': {'class_path': 'M', 'init_args': {'depth': 50, 'width': 64}}, 'steps': 5}
        >>> merge_trees(below, {"model": {"class_path": "N"}})
        {'model': {'class_path': 'N'}, 'steps': 5}
    """
    if not isinstance(above, Mapping):
        return above
    if not isinstance(below, Mapping) or above.get("class_path", below.get("class_path")) != below.get("class_path"):
        below = {}
    merged = dict(below)
    for path, value in above.items():
        key, _, rest = path.partition(".")
        if "class_path" in below and key not in ("class_path", "init_args"):
            key, rest = "init_args", path
        merged[key] = merge_trees(merged.get(key), {rest: value} if rest else value)
    return merged


def take_away(tree: Any, path: str) -> Any:
    """Settings without one of them.

    Args:
        tree: Settings.
        path: Its dotted path, as in `merge_trees`.

    Raises:
        ConfigError: There is no such setting.
    """
    key, _, rest = path.partition(".")
    if isinstance(tree, Mapping) and "class_path" in tree and key not in ("class_path", "init_args"):
        key, rest = "init_args", path
    if not isinstance(tree, Mapping) or key not in tree:
        raise ConfigError("no setting to take away", found=path)
    if not rest:
        return {name: value for name, value in tree.items() if name != key}
    return {**tree, key: take_away(tree[key], rest)}


def fill_in(tree: Any, values: Tree) -> Any:
    """Settings with every `$word` replaced by its value; text that is nothing else takes the value's type.

    Args:
        tree: Settings, or a text.
        values: What the names stand for; texts among them may hold further names.

    Raises:
        ConfigError: A name has no value.

    Example:
        >>> fill_in({"share": "$percent", "labels": ["clicks$suffix"]}, {"percent": 50, "suffix": "_$percent"})
        {'share': 50, 'labels': ['clicks_50']}
    """
    if isinstance(tree, Mapping):
        return {key: fill_in(value, values) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [fill_in(value, values) for value in tree]
    if not isinstance(tree, str) or "$" not in tree:
        return tree
    if tree[1:].isidentifier():
        return _Filled(values)[tree[1:]]
    return Template(tree).substitute(_Filled(values))


class _Filled(dict[str, Any]):
    """Values, filled in when they are looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise ConfigError("nothing says what a name stands for", found=f"${name}")
        return fill_in(super().__getitem__(name), self)
