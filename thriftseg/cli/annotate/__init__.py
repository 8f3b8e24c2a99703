"""`thriftseg annotate ...`: people and networks label together."""

from __future__ import annotations

from thriftseg.cli.annotate import collect, eva_vos, hvsa, next, serve, split

ACTIONS = {
    "hvsa": hvsa.run,
    "eva-vos": eva_vos.run,
    "collect": collect.run,
    "split": split.run,
    "find-budget": hvsa._find_budget,
    "next": next.run,
    "serve": serve.run,
}
