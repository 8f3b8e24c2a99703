"""Several ONNX graphs of one purpose made into one, which chooses among them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

FRAMES, LOGITS, PLACE, NEXT = "frames", "logits", "place", "next_"
"""Names of inputs and outputs; the last one stands before those of the state."""
_SHARED_BYTES = 256
"""Weights of at least this size are stored once for all branches."""

_Proto = Any
"""A message of the package onnx, which is there only where something is exported."""


@dataclass(frozen=True)
class Branch:
    """A graph that gives some of the outputs; the others are the inputs of their name.

    Attributes:
        model: The ONNX model.
        following: What the output `next_place` is.
    """

    model: _Proto
    following: int = 0


@dataclass(frozen=True)
class Fork:
    """One of two, at a fork.

    Attributes:
        condition: Number that the input `place` must be, or a model whose output is a bool.
        then: What holds if it is.
        otherwise: What holds if not.
    """

    condition: int | _Proto
    then: Branch | Fork
    otherwise: Branch | Fork


def join_models(
    tree: Branch | Fork, inputs: Sequence[_Proto], outputs: Sequence[_Proto], share_weights: bool
) -> _Proto:
    """One model for a tree of choices.

    Args:
        tree: The branches.
        inputs: Inputs (`ValueInfoProto`) of the model, those of each branch among them.
        outputs: Outputs of the model; those of each branch are among them.
        share_weights: Store weights that are equal in several branches once.
    """
    from onnx import helper

    models = list(_models(tree))
    joiner = _Joiner(models, outputs, share_weights)
    nodes, weights, found = joiner.join(tree)
    nodes += [helper.make_node("Identity", [name], [output.name]) for name, output in zip(found, outputs, strict=True)]
    graph = helper.make_graph(nodes, "step", inputs, outputs, [*joiner.shared.values(), *weights])
    imports, version = models[0].opset_import, models[0].ir_version
    return helper.make_model(graph, opset_imports=imports, ir_version=version, producer_name="thriftseg")


def _models(tree: Branch | Fork) -> Iterator[_Proto]:
    if isinstance(tree, Branch):
        yield tree.model
        return
    if not isinstance(tree.condition, int):
        yield tree.condition
    yield from _models(tree.then)
    yield from _models(tree.otherwise)


class _Joiner:
    """Makes names unique, and hands out shared weights.

    Attributes:
        shared: Weights that several models hold, by their content.
    """

    def __init__(self, models: Sequence[_Proto], outputs: Sequence[_Proto], share_weights: bool) -> None:
        self.outputs = outputs
        self.count = 0
        holders = Counter(key for model in models for key in {_content(weight) for weight in model.graph.initializer})
        self.shared: dict[str, _Proto] = {}
        for model in models if share_weights else ():
            for weight in model.graph.initializer:
                key = _content(weight)
                if holders[key] > 1 and weight.ByteSize() >= _SHARED_BYTES and key not in self.shared:
                    self.shared[key] = _copied(weight)
                    self.shared[key].name = f"weight_{len(self.shared)}"

    def join(self, tree: Branch | Fork) -> tuple[list[_Proto], list[_Proto], list[str]]:
        """Nodes, weights, and the values that are the outputs."""
        from onnx import helper

        self.count += 1
        prefix = f"part{self.count}/"
        names = [f"chosen{self.count}/{output.name}" for output in self.outputs]
        if isinstance(tree, Branch):
            nodes, weights, given = self._taken_over(tree.model, prefix)
            for output, name in zip(self.outputs, names, strict=True):
                if output.name == NEXT + PLACE:
                    nodes.append(helper.make_node("Constant", [], [name], value_int=tree.following))
                else:
                    source = given.get(output.name, output.name.removeprefix(NEXT))
                    nodes.append(helper.make_node("Identity", [source], [name]))
            return nodes, weights, names
        if isinstance(tree.condition, int):
            number, condition = f"{prefix}number", f"{prefix}condition"
            nodes = [
                helper.make_node("Constant", [], [number], value_int=tree.condition),
                helper.make_node("Equal", [PLACE, number], [condition]),
            ]
            weights = []
        else:
            nodes, weights, given = self._taken_over(tree.condition, prefix)
            (condition,) = given.values()
        graphs = [self._graph(part) for part in (tree.then, tree.otherwise)]
        nodes.append(helper.make_node("If", [condition], names, then_branch=graphs[0], else_branch=graphs[1]))
        return nodes, weights, names

    def _graph(self, tree: Branch | Fork) -> _Proto:
        from onnx import helper

        nodes, weights, names = self.join(tree)
        kinds = [output.type.tensor_type.elem_type for output in self.outputs]
        outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds, strict=True)]
        return helper.make_graph(nodes, names[0], [], outputs, weights)

    def _taken_over(self, model: _Proto, prefix: str) -> tuple[list[_Proto], list[_Proto], dict[str, str]]:
        """Nodes and weights of a model under names of their own, and how its outputs are called now."""
        graph = _copied(model.graph)
        kept = {value.name: value.name for value in graph.input}
        weights = []
        for weight in graph.initializer:
            shared = self.shared.get(_content(weight))
            kept[weight.name] = shared.name if shared else prefix + weight.name
            if not shared:
                weight.name = kept[weight.name]
                weights.append(weight)
        _rename(graph, lambda name: kept.get(name, prefix + name))
        given = {value.name: kept.get(value.name, prefix + value.name) for value in graph.output}
        return list(graph.node), weights, given


def _rename(graph: _Proto, renamed: Callable[[str], str]) -> None:
    """Rename the values of a graph and of those inside its nodes, in place."""
    for node in graph.node:
        node.name = renamed(node.name) if node.name else ""
        del node.metadata_props[:]  # where in our code it comes from
        for names in (node.input, node.output):
            names[:] = [renamed(name) if name else "" for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _rename(inner, renamed)
                    del inner.value_info[:]
                    for value in (*inner.output, *inner.initializer):
                        value.name = renamed(value.name)


def _content(weight: _Proto) -> str:
    """Hash of type, shape and values."""
    nameless = _copied(weight)
    nameless.name = ""
    return hashlib.sha256(nameless.SerializeToString(deterministic=True)).hexdigest()


def _copied(message: _Proto) -> _Proto:
    other = type(message)()
    other.CopyFrom(message)
    return other
