"""Options of the commands that tune a network on one video, and the objects that they name."""

from __future__ import annotations

import functools
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftseg.cli.inference import load_for
from thriftseg.cli.reader import add_reader_arguments, announced_reader
from thriftseg.cli.shipped_config import add_config_argument
from thriftseg.errors import ConfigError
from thriftseg.folders import RUNS
from thriftseg.progress import quiet_trainer

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.annotation import Annotator, HVSAResult, HVSASettings, PolygonAnnotator
    from thriftseg.arrays import UInt8Array
    from thriftseg.datamodules import VideoPairDataModule
    from thriftseg.datasets import VideoDataset
    from thriftseg.flow import FlowEstimator
    from thriftseg.lightning_modules import SemanticSegmentation
    from thriftseg.types import Clip, Size
    from thriftseg.zoo import SemanticNetwork

DEFAULT_NETWORK = "hrnet_w18"
MOMENTUM = 0.9


def add_loop_arguments(parser: ArgumentParser, *, left_out: set[str]) -> None:
    """Declare the options of a run.

    Args:
        parser: Parser of the command.
        left_out: Settings of `HVSASettings` that the command has its own options for.
    """
    from thriftseg.annotation import HVSASettings

    add_config_argument(parser)
    _add_video_arguments(parser)
    _add_network_arguments(parser)
    parser.add_class_arguments(HVSASettings, skip=left_out)
    _add_tuning_arguments(parser)
    parser.add_argument(
        "--superpixel_label",
        choices=["dominant", "precise"],
        default="dominant",
        help="what a simulated person does to a super-pixel: one click, or polygons",
    )
    parser.add_argument(
        "--count_class_clicks",
        type=bool,
        default=True,
        help="count the clicks that name classes, too",
    )
    parser.add_argument("--out", type=str | None, metavar="DIR", help="folder to write; runs/<config>/<video> if unset")


def _add_video_arguments(parser: ArgumentParser) -> None:
    add_reader_arguments(parser, required=False)
    parser.add_argument("--split", type=str, default="val", help="split of the data set that holds the video")
    parser.add_argument(
        "--video", type=str | None, metavar="NAME|DIR", help="video of --dataset; in place of both, a folder of frames"
    )
    parser.add_argument(
        "--taxonomy", type=str | None, metavar="NAME|YAML", help="class table that a folder of frames is labelled with"
    )
    parser.add_argument("--flow", choices=["dis", "raft"], default="dis", help="what estimates the flow")
    parser.add_argument(
        "--flow_weights", type=str | None, metavar="PATH|NAME", help="weights of RAFT: a file, or a name of torchvision"
    )


def _add_network_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        type=str | None,
        metavar="NAME|PATH|hf:ORG/NAME",
        help="published weights (`thriftseg zoo list`) or a checkpoint to start from",
    )
    parser.add_argument(
        "--network", type=str | None, metavar="NAME", help=f"network with random weights; {DEFAULT_NETWORK} if unset"
    )
    parser.add_argument(
        "--network_options", type=dict[str, Any], default={}, metavar="JSON", help="further arguments of that network"
    )
    parser.add_argument(
        "--resize", type=int, nargs=2, metavar=("H", "W"), help="working size; that of the weights, or of the files"
    )


def _add_tuning_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--consistency", type=float, default=1.0, help="weight of the consistency between frames")
    parser.add_argument(
        "--consistency_distance", choices=["l2", "l1", "kl_sym", "ce_hard"], default="l2", help="how it is measured"
    )
    parser.add_argument(
        "--detach_previous", type=bool, default=False, help="let the consistency change the later frame alone"
    )
    parser.add_argument("--lr", type=float, default=0.004, help="learning rate at the start of each round")
    parser.add_argument("--weight_decay", type=float, default=0.0, help="weight decay")
    parser.add_argument("--batch_size", type=int, default=2, help="frames per step, an even number")
    parser.add_argument(
        "--freeze_batch_norm",
        type=bool,
        default=False,
        help="keep the statistics of batch norm",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights, order and selection")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="what to compute on")
    parser.add_argument("--precision", type=str, default="32-true", help="precision of the trainer, such as 16-mixed")


class VideoLoop:
    """The loop that the options name. Network and data are built anew for every run.

    Args:
        args: What was parsed.

    Raises:
        ConfigError: The options contradict each other, or name nothing.
    """

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self._dataset, self._split, self._video = _source(args)

    @property
    def dataset(self) -> VideoDataset:
        """Reader of the video."""
        return self._dataset

    @functools.cached_property
    def clip(self) -> Clip:
        """The video."""
        return self._data(None, None).clip

    @functools.cached_property
    def out(self) -> Path:
        """Folder of the run."""
        if self._args.out is not None:
            return Path(self._args.out)
        configs = self._args.config
        name = Path(str(configs[-1])).stem if configs else "hvsa"
        return Path(RUNS) / name / self.clip.video

    def settings(self, **others: Any) -> HVSASettings:
        """How the labels are bought.

        Args:
            others: Settings that are not options as they are.
        """
        from thriftseg.annotation import HVSASettings

        names = {field.name for field in fields(HVSASettings)} - others.keys()
        return HVSASettings(**{name: self._args[name] for name in names}, **others)

    def simulated_person(self) -> PolygonAnnotator:
        """Somebody who knows the truth.

        Raises:
            ConfigError: The truth of some frames is not there.
        """
        from thriftseg.annotation import PolygonAnnotator

        missing = len(self.clip.frames) - len(self.clip.labels)
        if missing:
            raise ConfigError(
                "a simulated person needs the truth of every frame",
                found=f"none for {missing} of {len(self.clip.frames)} frames of {self.clip.video!r}",
                fix="have a person label: --annotator files",
            )
        return PolygonAnnotator(
            lambda video, number: self._dataset.read_label(self.clip, number),
            count_class_clicks=self._args.count_class_clicks,
            superpixel_label=self._args.superpixel_label,
        )

    def read_frame(self, video: str, number: int) -> UInt8Array:
        """A frame of the video, (H, W, 3) uint8 RGB."""
        return self._dataset.read_frame(self.clip, number)

    def run(
        self, settings: HVSASettings, annotator: Annotator, out: Path, flow_cache: Path | None = None
    ) -> HVSAResult:
        """Run the loop, or go on with it.

        Args:
            settings: How the labels are bought.
            annotator: Who labels.
            out: Folder of the run.
            flow_cache: Folder of the flow; inside that of the run by default.
        """
        from thriftseg.annotation import annotate_hvsa

        network, resize, start = self._network()
        data = self._data(resize, flow_cache or out / "flow")
        with quiet_trainer():
            return annotate_hvsa(
                self._module(network),
                data,
                annotator,
                out,
                settings,
                notes={"start": start, **self._notes(annotator, data)},
                say=lambda line: print(line, flush=True),
                accelerator=self._args.accelerator,
                devices=1,
                precision=self._args.precision,
                enable_progress_bar=sys.stdout.isatty(),
            )

    def _data(self, resize: Size | None, flow_cache: Path | None) -> VideoPairDataModule:
        from thriftseg.datamodules import VideoPairDataModule

        return VideoPairDataModule(
            self._dataset,
            self._split,
            self._video,
            resize=resize,
            batch_size=self._args.batch_size,
            flow=self._flow,
            flow_cache=flow_cache,
            seed=self._args.seed,
        )

    @functools.cached_property
    def _flow(self) -> FlowEstimator:
        from thriftseg.flow import create_estimator

        weights = self._args.flow_weights
        if self._args.flow == "dis" and weights:
            raise ConfigError("DIS has no weights", found=f"--flow_weights {weights}", fix="add --flow raft")
        return create_estimator(self._args.flow, **({"weights": weights} if self._args.flow == "raft" else {}))

    def _network(self) -> tuple[SemanticNetwork, Size | None, dict[str, Any] | None]:
        """The network to start from, the size it works at, and what names its weights where they are not random."""
        import torch

        from thriftseg.zoo import create_model, weights_digest

        resize = (self._args.resize[0], self._args.resize[1]) if self._args.resize else None
        if not self._args.weights:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._args.seed)
                name, classes = self._args.network or DEFAULT_NETWORK, self._dataset.taxonomy.num_classes
                network: SemanticNetwork = create_model(name, classes, **self._args.network_options)
            return network, resize, None
        if self._args.network or self._args.network_options:
            raise ConfigError("the weights name their network themselves", fix="drop --network and --network_options")
        loaded = load_for(self._dataset.taxonomy, self._args.weights)
        start = {"weights": Path(self._args.weights).name, "sha256": weights_digest(loaded.network)}
        return loaded.network, resize or loaded.eval_size, start

    def _module(self, network: SemanticNetwork) -> SemanticSegmentation:
        import torch

        from thriftseg.lightning_modules import SemanticSegmentation, TestTimeTuning
        from thriftseg.losses import TemporalConsistencyLoss

        args = self._args
        consistency = TemporalConsistencyLoss(args.consistency_distance, args.detach_previous)
        return SemanticSegmentation(
            network,
            TestTimeTuning(consistency=consistency, consistency_weight=args.consistency),
            optimizer=functools.partial(torch.optim.SGD, lr=args.lr, momentum=MOMENTUM, weight_decay=args.weight_decay),
            freeze_batch_norm=args.freeze_batch_norm,
        )

    def _notes(self, annotator: Annotator, data: VideoPairDataModule) -> dict[str, Any]:
        """Facts that make the run, beside its settings and the module."""
        from thriftseg.annotation import PolygonAnnotator

        simulated = ("count_class_clicks", "superpixel_label") if isinstance(annotator, PolygonAnnotator) else ()
        return {"flow": repr(data.flow.estimator), **{name: self._args[name] for name in simulated}}


def _source(args: Namespace) -> tuple[VideoDataset, str, str | None]:
    """Data set, split and video that the options name."""
    if args.dataset is not None:
        if args.taxonomy is not None:
            raise ConfigError("a data set has its own classes", fix="drop --taxonomy, or --dataset")
        return announced_reader(args), args.split, args.video
    if args.video is None or args.taxonomy is None:
        raise ConfigError(
            "no video was named",
            expected="--dataset NAME, or --video DIR with --taxonomy",
            fix="add --taxonomy NAME or classes.yaml" if args.video is not None else None,
        )
    from thriftseg.datasets import FrameFolder
    from thriftseg.taxonomies import TAXONOMIES

    return FrameFolder(args.video, TAXONOMIES.get(args.taxonomy, args.taxonomy)), "all", None
