"""Size and speed of a semantic network."""

from __future__ import annotations

import json
import platform
import re
import statistics
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from thriftseg.atomic import write_bytes
from thriftseg.errors import ConfigError
from thriftseg.zoo.network import SemanticNetwork

_SIZE = (1024, 2048)


@dataclass(frozen=True)
class NetworkProfile:
    """What a network costs per frame of a stream.

    Attributes:
        parameters: Number of parameters; `None` of an exported file, which torch does not run.
        gflops: Billions of floating-point operations per frame, a multiplication and an addition counted as two; mean
            over the phases of a network that has several. `None` of an exported file.
        milliseconds: Median time per frame.
        fps: Frames per second at that time.
        size: Height and width of the frames.
        device: Name of what it was measured on.

    Example:
        >>> import tempfile
        >>> found = NetworkProfile(12_000_000, gflops=30.5, milliseconds=40.0, fps=25.0, size=(512, 1024), device="CPU")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found.write(Path(folder, "profile.json"))
        ...     json.loads(Path(folder, "profile.json").read_text())["fps"]
        25.0
    """

    parameters: int | None
    gflops: float | None
    milliseconds: float
    fps: float
    size: tuple[int, int]
    device: str

    def write(self, path: str | Path) -> None:
        """Write it as JSON; `thriftseg report table` reads `runs/<network>/profile.json`.

        Args:
            path: The file.
        """
        write_bytes(Path(path), (json.dumps(asdict(self), indent=2) + "\n").encode())


@torch.inference_mode()
def profile(
    network: SemanticNetwork,
    size: tuple[int, int] | None = None,
    device: str = "cpu",
    warm_up: int = 5,
    frames: int = 20,
) -> NetworkProfile:
    """Measure a network frame by frame, as it segments a stream of one video.

    Args:
        network: The network; it is left in evaluation mode, on the device.
        size: Height and width of the frames; 1024 and 2048 if unset.
        device: Where it computes, as torch names it.
        warm_up: Frames before the measurement, at least enough to fill the memory of the network.
        frames: Frames that are measured.

    Raises:
        ConfigError: A number is below 1.

    Example:
        >>> from thriftseg.zoo import create_model
        >>> found = profile(create_model("pspnet_mobilenetv2", 5), size=(32, 64), warm_up=1, frames=1)
        >>> found.parameters > 2_000_000, found.gflops > 0, found.size
        (True, True, (32, 64))
    """
    size = size or _SIZE
    if min(*size, warm_up, frames) < 1:
        raise ConfigError("sizes and numbers of frames to profile with", expected="1 or more", found=(size, frames))
    network = network.eval().to(device)
    frame = network.preprocessing(torch.rand(1, 3, *size, device=device))
    state = network.start()
    for _ in range(max(warm_up, network.past_frames + 1)):
        _, state = network.step(frame, state)
    with FlopCounterMode(display=False) as counter:
        for _ in range(network.num_phases):
            _, state = network.step(frame, state)
    seconds = []
    for _ in range(frames):
        _wait(device)
        start = time.perf_counter()
        _, state = network.step(frame, state)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    return NetworkProfile(
        parameters=sum(parameter.numel() for parameter in network.parameters()) or None,
        gflops=counter.get_total_flops() / network.num_phases / 1e9 or None,
        milliseconds=1e3 * median,
        fps=1 / median,
        size=size,
        device=_name_of(device),
    )


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _name_of(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        name = found[1] if found else name
    return f"{name}, {torch.get_num_threads()} threads"
