"""Streaming of video networks: thread time of one step against what it replaces, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from benchmarks.measure import Item, Outcome, extra_memory, medians, one_thread, thread_seconds
from thriftseg.datamodules import SemanticDataModule
from thriftseg.datasets import CamVid
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.synthetic import synthesize
from thriftseg.zoo import SemanticNetwork, create_model

SIZE = (257, 513)
CLASSES = 19


def overhead(ours: Callable[[], object], reference: Callable[[], object], names: tuple[str, str]) -> Outcome:
    """Time of ours over that of the reference."""
    with one_thread(), torch.inference_mode():
        cost, whole = medians(5, ours, reference)
        extra = extra_memory(ours), extra_memory(reference)
    detail = "; ".join(
        f"{name} {1e3 * seconds:.0f} ms, +{memory:.0f} MiB"
        for name, seconds, memory in zip(names, (cost, whole), extra, strict=True)
    )
    return Outcome(cost / whole, detail, extra[1] / max(extra[0], 0.1))


def streamed(network: SemanticNetwork, frames: list[Tensor]) -> Callable[[], object]:
    """A step in the midst of a video: all frames but the last one have been seen."""
    state = network.start()
    with torch.inference_mode():
        for frame in frames[:-1]:
            _, state = network.step(frame, state)
    return partial(network.step, frames[-1], state)


def tmanet() -> Outcome:
    """A step of `tmanet_r50` over its `forward` on the window of three frames, with equal results."""
    torch.manual_seed(0)
    network = create_model("tmanet_r50", CLASSES).eval()
    frames = list(torch.randn(3, 1, 3, *SIZE))
    step, forward = streamed(network, frames), partial(network, torch.stack(frames, dim=1))
    with torch.inference_mode():
        torch.testing.assert_close(step()[0], forward(), atol=1e-5, rtol=1e-5)
    return overhead(step, forward, ("step", "forward"))


def tmanet_validation() -> Outcome:
    """Validation of `tmanet_r50` on consecutive frames from disk, over one that encodes every window, equal scores."""
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        synthesize(folder, layout="camvid", train_clips=1, val_clips=1, frames=12, height=180, width=240, devices=1)
        data = SemanticDataModule(CamVid(folder), crop=SIZE, eval_size=SIZE, tc="all", num_workers=0)
        windowed, streamed = (SemanticSegmentation(create_model("tmanet_r50", 11)) for _ in range(2))
        streamed.network.load_state_dict(windowed.network.state_dict())
        vars(windowed.network)["can_resume"] = False
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=folder,
        )
        scores = {}

        def validate(module: SemanticSegmentation) -> None:
            scores[module] = trainer.validate(module, data, verbose=False)

        with one_thread():
            whole, cost = (thread_seconds(partial(validate, module)) for module in (windowed, streamed))
        frames = len(data.val_dataloader())
    if repr(scores[windowed]) != repr(scores[streamed]):
        raise RuntimeError(f"scores differ: {scores}")
    detail = f"{frames} frames: windows {whole / frames:.2f} s each, stream {cost / frames:.2f} s each"
    return Outcome(cost / whole, detail)


def td4() -> Outcome:
    """A step of `td4_psp18` over a forward of the PSPNet-101 that taught the authors' one."""
    torch.manual_seed(0)
    network = create_model("td4_psp18", CLASSES).eval()
    teacher = create_model("pspnet_resnet101", CLASSES).eval()
    frames = list(torch.randn(5, 1, 3, *SIZE))
    return overhead(streamed(network, frames), partial(teacher, frames[-1]), ("step", "PSPNet-101"))


def stm(size: tuple[int, int] = (240, 432), count: int = 3) -> Outcome:
    """A step of `stm_r50` with several objects over one step for each of them, all with two frames in memory."""
    torch.manual_seed(0)
    network = create_model("stm_r50").eval()
    frames = torch.rand(3, 1, 3, *size)
    masks = torch.zeros(1, count, *size)
    for k in range(count):
        masks[0, k, 40 : 40 + 80, 20 + 130 * k : 120 + 130 * k] = 1

    def after_two_frames(objects: slice) -> Callable[[], object]:
        with torch.inference_mode():
            _, state = network.step(frames[0], network.start(), masks[:, objects])
            _, state = network.step(frames[1], state)
        return partial(network.step, frames[2], state)

    together = after_two_frames(slice(None))
    alone = [after_two_frames(slice(k, k + 1)) for k in range(count)]
    return overhead(together, lambda: [step() for step in alone], ("together", "one by one"))


ITEMS = [
    Item(
        "tmanet_step",
        f"tmanet_r50 step {SIZE[0]}x{SIZE[1]}, 2 memory frames / its forward on the window of 3 frames",
        tmanet,
        at_most=0.45,
    ),
    Item(
        "tmanet_validation",
        f"tmanet_r50 validation {SIZE[0]}x{SIZE[1]} from disk, every frame scored / the same with every window encoded",
        tmanet_validation,
        at_most=0.45,
    ),
    Item(
        "td4_step",
        f"td4_psp18 step {SIZE[0]}x{SIZE[1]} / forward of the stride-8 pspnet_resnet101",
        td4,
        at_most=0.4,
    ),
    Item(
        "stm_objects",
        "stm_r50 step 240x432, 3 objects together / 3 steps of one object each",
        stm,
        at_most=0.7,
    ),
]
