"""`thriftseg label sync`."""

from __future__ import annotations

from typing import Any, Literal

from thriftseg.cli.options.reader import ClassData


def run(
    tool: Literal["cvat"],
    /,
    data: ClassData,
    url: str,
    task: int,
    split: str = "train",
    method: str = "flow",
    weights: str | None = None,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> int:
    """Fetch what people drew on a server, propagate it, and send back what that makes.

    Args:
        tool: The annotation tool: cvat.
        data: The data set, whose frames the task shows.
        url: Address of the server; CVAT_ACCESS_TOKEN, or CVAT_USER and CVAT_PASSWORD, say who asks.
        task: Number of the task.
        split: Split that the task shows.
        method: What carries the labels: flow, nearest, stm, sam2, hf, cutie, or what a package adds.
        weights: Weights of a network, a name or a path.
        settings: Further settings of the method.
        options: Those of `thriftseg.labels.sync_cvat`.
    """
    from thriftseg.exchange import CVATTask
    from thriftseg.labels import create_propagator, sync_cvat

    propagator = create_propagator(method, weights=weights, **(settings or {}))
    print(sync_cvat(data.open(), split, CVATTask(url, task), propagator, **options))
    return 0
