"""`thriftseg label ...`: making labels, and looking after them."""

from __future__ import annotations

from thriftseg.cli.label import boxes, clicks, coarse, exchange, fill, inspect, propagate, refine, review, sync, text

ACTIONS = {
    "boxes": boxes.run,
    "clicks": clicks.run,
    "propagate": propagate.run,
    "refine": refine.run,
    "export": exchange.export,
    "import": exchange.take_in,
    "coarse": coarse.run,
    "fill": fill.run,
    "text": text.run,
    "inspect": inspect.run,
    "review": review.run,
    "sync": sync.run,
}
