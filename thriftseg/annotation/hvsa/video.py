"""The loop on one video, from what names the network, how it is tuned and who labels."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thriftseg.annotation.hvsa.find_budget import FoundBudget, search_budget
from thriftseg.annotation.hvsa.loop import HVSAResult, annotate_hvsa
from thriftseg.annotation.hvsa.settings import HVSARounds, HVSASettings
from thriftseg.annotation.people.polygon_clicker import PolygonAnnotator, SuperpixelLabel
from thriftseg.annotation.people.requests import Annotator
from thriftseg.arrays import UInt8Array
from thriftseg.datamodules import VideoPairDataModule
from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.flow import FlowEstimator, estimator_of
from thriftseg.folders import writes_alone
from thriftseg.progress import quiet_trainer
from thriftseg.types import Clip, Size
from thriftseg.workers import Accelerator

if TYPE_CHECKING:
    from thriftseg.lightning_modules import SemanticSegmentation
    from thriftseg.zoo import SemanticNetwork

DEFAULT_NETWORK = "hrnet_w18"
MOMENTUM = 0.9


@dataclass(frozen=True)
class StartNetwork:
    """The network to start from.

    Attributes:
        weights: Published weights (`thriftseg zoo list`), by name, path or hf:ORG/NAME, or a checkpoint.
        network: Name of a network with random weights instead; hrnet_w18 if unset.
        network_options: Further arguments of that network.
        resize: Height and width to work at; those of the weights, or of the files, if unset.

    Example:
        >>> from thriftseg.datasets import FrameFolder
        >>> from thriftseg.taxonomies import CITYSCAPES
        >>> start = StartNetwork("deeplabv3plus_mobilenetv2.synthetic_manual")
        >>> network, resize, noted = start.load(FrameFolder("drive/frames", CITYSCAPES))
        >>> network.num_classes, resize, noted["weights"]
        (19, (128, 256), 'deeplabv3plus_mobilenetv2.synthetic_manual')
    """

    weights: str | None = None
    network: str | None = None
    network_options: dict[str, Any] = field(default_factory=dict)
    resize: tuple[int, int] | None = None

    def load(self, dataset: VideoDataset, seed: int = 0) -> tuple[SemanticNetwork, Size | None, dict[str, Any] | None]:
        """The network, the size it works at, and what names its weights where they are not random.

        Args:
            dataset: Names the classes.
            seed: Seed of random weights.

        Raises:
            ConfigError: The settings contradict each other, or the network was trained on other classes.
        """
        import torch

        from thriftseg.inference import load_for
        from thriftseg.zoo import create_model, weights_digest

        if not self.weights:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                name, classes = self.network or DEFAULT_NETWORK, dataset.taxonomy.num_classes
                network: SemanticNetwork = create_model(name, classes, **self.network_options)
            return network, self.resize, None
        if self.network or self.network_options:
            raise ConfigError("the weights name their network themselves", fix="drop --network and --network_options")
        loaded = load_for(dataset.taxonomy, self.weights)
        start = {"weights": Path(self.weights).name, "sha256": weights_digest(loaded.network)}
        return loaded.network, self.resize or loaded.eval_size, start


@dataclass(frozen=True)
class TuningSettings:
    """How the network is tuned in every round.

    Attributes:
        consistency: Weight of the consistency between frames.
        consistency_distance: How it is measured.
        detach_previous: Let the consistency change the later frame alone.
        lr: Learning rate at the start of each round.
        weight_decay: Weight decay.
        batch_size: Frames per step, an even number.
        freeze_batch_norm: Keep the statistics of batch norm.
        flow: What estimates the flow between frames.
        flow_weights: Weights of RAFT: a file, or a name of torchvision.
        seed: Seed of random weights, order and selection.
        accelerator: What to compute on.
        precision: Precision of the trainer, such as 16-mixed.

    Example:
        >>> from thriftseg.zoo import DeepLabV3Plus
        >>> network = DeepLabV3Plus(3, "tu-test_resnet", decoder_channels=8)
        >>> TuningSettings(lr=0.01).module(network).hparams["optimizer"]["init_args"]
        {'lr': 0.01, 'momentum': 0.9, 'weight_decay': 0.0}
    """

    consistency: float = 1.0
    consistency_distance: Literal["l2", "l1", "kl_sym", "ce_hard"] = "l2"
    detach_previous: bool = False
    lr: float = 0.004
    weight_decay: float = 0.0
    batch_size: int = 2
    freeze_batch_norm: bool = False
    flow: Literal["dis", "raft"] = "dis"
    flow_weights: str | None = None
    seed: int = 0
    accelerator: Accelerator = "auto"
    precision: str = "32-true"

    def module(self, network: SemanticNetwork) -> SemanticSegmentation:
        """What tunes a network."""
        import torch

        from thriftseg.lightning_modules import SemanticSegmentation, TestTimeTuning
        from thriftseg.losses import TemporalConsistencyLoss

        consistency = TemporalConsistencyLoss(self.consistency_distance, self.detach_previous)
        return SemanticSegmentation(
            network,
            TestTimeTuning(consistency=consistency, consistency_weight=self.consistency),
            optimizer=functools.partial(torch.optim.SGD, lr=self.lr, momentum=MOMENTUM, weight_decay=self.weight_decay),
            freeze_batch_norm=self.freeze_batch_norm,
        )


@dataclass(frozen=True)
class SimulatedPerson:
    """How a simulated person labels.

    Attributes:
        superpixel_label: What becomes of a super-pixel: one click with the dominant class, or precise polygons.
        count_class_clicks: Count the clicks that name classes, too.

    Example:
        >>> PolygonAnnotator(lambda video, number: None, **asdict(SimulatedPerson(count_class_clicks=False))).arguments
        {'count_class_clicks': False, 'superpixel_label': 'dominant'}
    """

    superpixel_label: SuperpixelLabel = "dominant"
    count_class_clicks: bool = True


class VideoLoop:
    """HVSA on one video. Network and data are built anew for every run.

    Args:
        dataset: Reads the video.
        split: Split that holds it.
        video: Its name; the only one of the split if unset.
        network: The network to start from.
        tuning: How it is tuned.
        say: Called with a line after each step.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import FrameFolder
        >>> from thriftseg.taxonomies import CAMVID
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in (3, 4): Path(folder, f"{number}.png").touch()
        ...     loop = VideoLoop(FrameFolder(folder, CAMVID), "all")
        ...     list(loop.clip.frames), loop.clip.video == Path(folder).name
        ([3, 4], True)
    """

    def __init__(
        self,
        dataset: VideoDataset,
        split: str,
        video: str | None = None,
        network: StartNetwork | None = None,
        tuning: TuningSettings | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.dataset = dataset
        self.data: VideoPairDataModule | None = None
        self._split, self._video, self.say = split, video, say
        self._start, self._tuning = network or StartNetwork(), tuning or TuningSettings()

    @functools.cached_property
    def clip(self) -> Clip:
        """The video."""
        return self._data(None, None).clip

    def read_frame(self, video: str, number: int) -> UInt8Array:
        """A frame of the video, (H, W, 3) uint8 RGB."""
        return self.dataset.read_frame(self.clip, number)

    def simulated(self, person: SimulatedPerson) -> PolygonAnnotator:
        """Somebody who knows the truth.

        Args:
            person: How they label.

        Raises:
            ConfigError: The truth of some frames is not there.
        """
        missing = len(self.clip.frames) - len(self.clip.labels)
        if missing:
            raise ConfigError(
                "a simulated person needs the truth of every frame",
                found=f"none for {missing} of {len(self.clip.frames)} frames of {self.clip.video!r}",
                fix="have a person label: --annotator files",
            )
        return PolygonAnnotator(lambda video, number: self.dataset.read_label(self.clip, number), **asdict(person))

    def run(
        self, settings: HVSASettings, annotator: Annotator, out: str | Path, flow_cache: Path | None = None
    ) -> HVSAResult:
        """Run the loop, or go on with it.

        Args:
            settings: How the labels are bought.
            annotator: Who labels.
            out: Folder of the run.
            flow_cache: Folder of the flow; inside that of the run by default.
        """
        from thriftseg.lightning_modules import usable_precision

        network, resize, start = self._start.load(self.dataset, self._tuning.seed)
        data = self.data = self._data(resize, flow_cache or Path(out) / "flow")
        simulated = annotator.arguments if isinstance(annotator, PolygonAnnotator) else {}
        with quiet_trainer():
            return annotate_hvsa(
                self._tuning.module(network),
                data,
                annotator,
                out,
                settings,
                notes={"start": start, "flow": repr(data.flow.estimator), **simulated},
                say=self.say,
                accelerator=self._tuning.accelerator,
                devices=1,
                precision=usable_precision(self._tuning.precision, self._tuning.accelerator),
                enable_progress_bar=sys.stdout.isatty(),
            )

    def _data(self, resize: Size | None, flow_cache: Path | None) -> VideoPairDataModule:
        return VideoPairDataModule(
            self.dataset,
            self._split,
            self._video,
            resize=resize,
            batch_size=self._tuning.batch_size,
            flow=self._estimator,
            flow_cache=flow_cache,
            seed=self._tuning.seed,
        )

    @functools.cached_property
    def _estimator(self) -> FlowEstimator:
        return estimator_of(self._tuning.flow, self._tuning.flow_weights)


@writes_alone("out")
def find_budget(
    loop: VideoLoop,
    rounds: HVSARounds,
    person: SimulatedPerson,
    out: str | Path,
    *,
    target_miou: float,
    tolerance: float = 1.0,
    max_budget: float = 100.0,
) -> FoundBudget:
    """Find the least budget with which a simulated person reaches a mIoU on a video; see `search_budget`.

    Args:
        loop: The loop on the video.
        rounds: How the labels are bought.
        person: How they are drawn.
        out: Folder of all runs.
        target_miou: mIoU to reach, 0 to 1.
        tolerance: Stop at budgets this many per cent apart.
        max_budget: Largest budget to try, in per cent.

    Raises:
        ConfigError: A setting is out of range, or there is no truth to score by.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import FrameFolder
        >>> from thriftseg.taxonomies import CAMVID
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "7.png").write_bytes(b"")
        ...     loop = VideoLoop(FrameFolder(root, CAMVID), "all")
        ...     find_budget(loop, HVSARounds(), SimulatedPerson(), f"{root}/runs", target_miou=0.7)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: a simulated person needs the truth of every frame; found none for 1 of 1 ...
    """
    annotator = loop.simulated(person)

    def labelled(percent: float, folder: Path) -> HVSAResult:
        settings = HVSASettings(**asdict(rounds), budget=f"{percent:g}%")
        return loop.run(settings, annotator, folder, Path(out) / "flow")

    return search_budget(
        labelled,
        out,
        target_miou=target_miou,
        max_budget=max_budget,
        tolerance=tolerance,
        paste_manual=rounds.paste_manual,
        say=loop.say,
    )
