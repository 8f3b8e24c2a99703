"""`thriftseg predict`."""

from __future__ import annotations

from typing import Any

from thriftseg.cli.options.inference import InferenceOptions


def run(network: InferenceOptions, **options: Any) -> int:
    """Segment a video file or a folder of frames.

    Args:
        network: The network, and how it segments a frame.
        options: Those of `thriftseg.inference.predict`.
    """
    inference = network.find()
    from rich.console import Console

    from thriftseg.inference import predict
    from thriftseg.reports import class_table

    summary = predict(network.weights, inference=inference, resize=network.resize, **options)
    Console().print(class_table(summary.class_names, {"share": list(summary.share.values())}))
    print(summary)
    return 0
