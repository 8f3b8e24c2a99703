"""STM with the released protocol: every frame is memorised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thriftseg.zoo import STM, ObjectIds, VOSState

MODELS = ("stm",)


def build(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> STM:
    """STM of the sizes that the entries have."""
    return STM(
        _backbone(shapes),
        key_channels=shapes["KV_M_r4.Key.weight"][0],
        value_channels=shapes["KV_M_r4.Value.weight"][0],
        decoder_channels=shapes["Decoder.convFM.weight"][0],
        memory_every=1,
        max_memory_frames=10**6,
    ).eval()


def run(network: STM, inputs: dict[str, Tensor], golden: dict[str, Any]) -> dict[str, Tensor]:
    """Logits, keys, values and inner outputs of every frame."""
    num_objects, channels = golden["config"]["num_objects"], golden["config"]["K"]
    objects = ObjectIds(tuple(range(1, channels)))
    masks, given = objects.masks(inputs["labels0"]), objects.flags(range(1, num_objects + 1))
    outputs: dict[str, Tensor] = {}
    state = network.start()
    for index in range(sum(name.startswith("frame") for name in inputs)):
        first = index == 0
        with _taps(network, outputs, index, num_objects):
            logits, state = network.step(
                inputs[f"frame{index}"], state, masks if first else None, given.unsqueeze(0) if first else None
            )
        outputs[f"logit{index}"] = logits
        outputs[f"key{index}"], outputs[f"value{index}"] = _memorised(state)
    return outputs


def _backbone(shapes: dict[str, tuple[int, ...]]) -> str:
    """ResNet-50 and ResNet-101 differ in the number of blocks at stride 16."""
    return "resnet101" if "Encoder_Q.res4.22.conv1.weight" in shapes else "resnet50"


def _memorised(state: VOSState) -> list[Tensor]:
    """Key and value of the newest frame as 1 x K x C x 1 x h x w, zero for background and absent objects."""
    memory = state.memory
    tables = (memory.rows.scatter(rows, 1) for rows in memory.frames[-1].features)
    return [F.pad(table, (0, 0, 0, 0, 0, 0, 1, 0)).unsqueeze(3) for table in tables]


@contextmanager
def _taps(network: STM, outputs: dict[str, Tensor], index: int, num_objects: int) -> Iterator[None]:
    """Store outputs of inner modules under the authors' names."""
    memorise, segment, decoder = f"memorize{index}", f"segment{index}", network.decoder
    names: dict[nn.Module, tuple[str, ...]] = {
        network.memory_encoder: (f"{memorise}/Encoder_M.r4",),
        network.memory_head: (f"{memorise}/KV_M_r4.key", f"{memorise}/KV_M_r4.value"),
        network.query_encoder: tuple(f"{segment}/Encoder_Q.{level}" for level in ("r2", "r3", "r4")),
        network.query_head: (f"{segment}/KV_Q_r4.key", f"{segment}/KV_Q_r4.value"),
        network.reader: (f"{segment}/read",),
        decoder.block: (f"{segment}/Decoder.ResMM",),
        decoder.refine8: (f"{segment}/Decoder.RF3",),
        decoder.refine4: (f"{segment}/Decoder.RF2",),
        decoder: (f"{segment}/Decoder.logits2",),
    }

    def store(module: nn.Module, _: object, output: Any) -> None:
        values = (output,) if isinstance(output, Tensor) else output
        outputs.update(zip(names[module], values, strict=True))

    def store_stem(name: str) -> Any:
        return lambda _, __, normalised: outputs.__setitem__(name, F.relu(normalised))

    handles = [module.register_forward_hook(store) for module in names]
    handles += [
        network.memory_encoder.bn1.register_forward_hook(store_stem(f"{memorise}/Encoder_M.c1")),
        network.query_encoder.bn1.register_forward_hook(store_stem(f"{segment}/Encoder_Q.c1")),
        network.query_encoder.conv1.register_forward_pre_hook(
            lambda _, args: outputs.__setitem__(f"{segment}/Encoder_Q.f_normalised", args[0])
        ),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if f"{segment}/read" in outputs:
        value = outputs[f"{segment}/KV_Q_r4.value"].expand(num_objects, -1, -1, -1)
        outputs[f"{segment}/Memory.mem_out"] = torch.cat([outputs[f"{segment}/read"], value], dim=1)
