"""A network as it comes back from a file."""

from __future__ import annotations

import io
import json

import torch

from thriftseg.zoo import Network, rebuild
from thriftseg.zoo.undrawn import Undrawn


def reloaded(network: Network) -> Network:
    """Rebuild a network from its record and its state, both stored and read back, in evaluation mode."""
    buffer = io.BytesIO()
    torch.save({"record": network.record, "state": network.state_dict()}, buffer)
    buffer.seek(0)
    stored = torch.load(buffer, weights_only=True)
    with Undrawn():
        again = rebuild(json.loads(json.dumps(stored["record"]))).eval()
    again.load_state_dict(stored["state"])
    return again
