"""The whole job in a minute on two CPU cores: three label sources, three students, their cost and quality."""

from __future__ import annotations

import functools
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, track

from thriftseg import __version__
from thriftseg.atomic import write_bytes
from thriftseg.datamodules import Mixture
from thriftseg.datasets import Cityscapes
from thriftseg.drawing import VideoWriter, compare
from thriftseg.errors import ConfigError
from thriftseg.folders import claim_folder, writes_alone
from thriftseg.parsing import read_json
from thriftseg.progress import quiet_trainer
from thriftseg.quickstart.config import QuickstartConfig, StudentConfig
from thriftseg.reports import CostQualityPoint, cost_quality_table, plot_cost_quality
from thriftseg.taxonomies import CITYSCAPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thriftseg.arrays import UInt8Array
    from thriftseg.lightning_modules import SemanticSegmentation
    from thriftseg.synthetic import RenderedFrame, SceneConfig

DEMO_SEED = 10**12  # a street that no split contains
DEMO_WIDTH = 512  # pixels of one panel of the video
_RECORD = "quickstart.json"


@dataclass(frozen=True)
class QuickstartResult:
    """Result of `quickstart`.

    Attributes:
        folder: The output folder.
        points: Cost and quality of each student, in the order of the config.
        best: Key of the student with the highest mIoU.

    Example:
        >>> points = [CostQualityPoint("manual", hours=2, miou=0.41), CostQualityPoint("clicks", hours=0.1, miou=0.38)]
        >>> result = QuickstartResult(Path("quickstart"), points, best="manual")
        >>> f"{result.best}: {max(point.miou for point in result.points):.0%}"
        'manual: 41%'
    """

    folder: Path
    points: list[CostQualityPoint]
    best: str


@writes_alone("out")
def quickstart(
    out: str | Path = "quickstart",
    seed: int = 0,
    *,
    config: QuickstartConfig | None = None,
    overwrite: bool = False,
    progress: bool = True,
    devices: int = 1,
) -> QuickstartResult:
    """Synthesise street video, label it in three ways, train a student on each, and compare cost and quality.

    Runs on the CPU, needs no network, and gives the same table every time on the same machine. Interrupted and called
    again with the same arguments it goes on after the last finished student. Writes into `out`:

        data/                        synthetic street video in the layout of Cityscapes
        labels/                      label store: flow-propagated labels and clicks
        students/<key>/student.ckpt  the trained students, for `thriftseg predict`
        cost_quality.png             quality against annotation hours
        best_student.mp4             the best student next to the truth on a street it never saw
        results.json                 the table as numbers

    Args:
        out: Folder for everything.
        seed: Seed of streets, clicks, mixtures and initial weights.
        config: Sizes and training settings; those of `configs/quickstart.yaml` by default.
        overwrite: Delete what an earlier quickstart with other settings left in `out`.
        progress: Show what is going on.
        devices: Processes that draw the video. A script that asks for more than one has to guard the call by
            `if __name__ == "__main__":`.

    Returns:
        Folder, cost and quality of every student, and which one is best.

    Raises:
        ConfigError: `out` holds something else, or the config contradicts itself.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "notes.txt").write_text("of something else")
        ...     quickstart(folder, seed=1, progress=False)
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: ...: is not empty and has no quickstart.json; fix: pass another --out
    """
    start = time.perf_counter()
    config = config or QuickstartConfig.load()
    folder = Path(out).resolve()
    console = Console(quiet=not progress)
    _claim(folder, config, seed, overwrite)
    steps = len(config.students) + 3
    with quiet_trainer():
        console.print(f"[bold]1/{steps}[/] Drawing synthetic street video")
        dataset = _dataset(folder, config, seed, progress, devices)
        console.print(f"[bold]2/{steps}[/] Labelling: flow propagation and clicks")
        _make_labels(dataset, folder, config, seed, progress)
        points = []
        for position, student in enumerate(config.students, start=3):
            console.print(f"[bold]{position}/{steps}[/] Training on [bold]{student.name}[/]")
            points.append(_student_point(student, dataset, folder, config, seed, progress))
        best = config.students[max(range(len(points)), key=lambda i: points[i].miou)]
        console.print(f"[bold]{steps}/{steps}[/] Drawing the picture and the video of [bold]{best.name}[/]")
        weights = folder / "students" / best.key / "student.ckpt"
        plot_cost_quality(points, folder / "cost_quality.png", title="Synthetic street video")
        _write_video(folder / "best_student.mp4", weights, config, seed, progress)
        results = {"best": best.key, "students": [asdict(point) for point in points]}
        write_bytes(folder / "results.json", _json(results))
    console.print()
    console.print(cost_quality_table(points, "What the labels cost and how good the student is"))
    if config.start:
        console.print(f"\nAll keep the encoder of {config.start}, whose own labels the hours do not count.")
    console.print(f"\n{time.perf_counter() - start:.0f} s. Everything is in {folder}")
    console.print(f"Next: thriftseg predict --weights {weights} --input VIDEO", soft_wrap=True)
    return QuickstartResult(folder, points, best.key)


def _claim(folder: Path, config: QuickstartConfig, seed: int, overwrite: bool) -> None:
    """Make sure that what is in the folder was made by these very settings."""
    settings = {"version": __version__, "seed": seed, "config": asdict(config)}
    if overwrite and (folder / _RECORD).is_file():
        _clear(folder)
        write_bytes(folder / _RECORD, _json(settings))
    claim_folder(
        folder,
        settings,
        record=_RECORD,
        problem="holds a quickstart with other settings",
        fix="pass --overwrite or another --out",
        fix_of_foreign="pass another --out",
    )


def _clear(folder: Path) -> None:
    """Delete what a quickstart makes and nothing else."""
    for name in ("data", "data.partial", "labels", "students"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("cost_quality.png", "best_student.mp4", "results.json"):
        (folder / name).unlink(missing_ok=True)


def _dataset(folder: Path, config: QuickstartConfig, seed: int, progress: bool, devices: int) -> Cityscapes:
    from thriftseg.synthetic import synthesize

    root, unfinished = folder / "data", folder / "data.partial"
    if root.is_dir():
        return Cityscapes(root)
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("clips", total=None)
        synthesize(
            unfinished,
            layout="cityscapes",
            train_clips=config.train_clips,
            val_clips=config.val_clips,
            frames=config.frames,
            height=config.height,
            width=config.width,
            seed=seed,
            devices=devices,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    unfinished.rename(root)
    return Cityscapes(root)


def _make_labels(dataset: Cityscapes, folder: Path, config: QuickstartConfig, seed: int, progress: bool) -> None:
    from thriftseg.labels import label_clicks, label_propagate

    store = folder / "labels"
    label_propagate(dataset, "train", offsets=config.flow_offsets, store=store, progress=progress)
    label_clicks(dataset, "train", store=store, min_component=config.click_min_component, seed=seed, progress=progress)


def _student_point(
    student: StudentConfig, dataset: Cityscapes, folder: Path, config: QuickstartConfig, seed: int, progress: bool
) -> CostQualityPoint:
    """Train a student, or read the result of an earlier call."""
    result = folder / "students" / student.key / "result.json"
    if not result.exists():
        point = _train(student, dataset, folder, config, seed, progress)
        write_bytes(result, _json(asdict(point)))
    return read_json(result, CostQualityPoint, fix="delete it; the student is trained again")


def _train(
    student: StudentConfig, dataset: Cityscapes, folder: Path, config: QuickstartConfig, seed: int, progress: bool
) -> CostQualityPoint:
    import torch
    from lightning.pytorch import Trainer

    from thriftseg.datamodules import SemanticDataModule
    from thriftseg.lightning_modules import default_progress_bar

    mixture = Mixture(pattern=student.pattern, parts=student.parts, seed=seed, store=folder / "labels")
    data = SemanticDataModule(
        dataset,
        mixture,
        crop=config.crop,
        scale=config.scale,
        batch_size=config.batch_size,
        eval_batch_size=config.batch_size,
        num_workers=0,
        cache="ram",
        seed=seed,
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        max_steps=config.steps,
        val_check_interval=config.steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        callbacks=[default_progress_bar()] if progress else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trainer.fit(_module(config, data), datamodule=data)
    trainer.save_checkpoint(folder / "students" / student.key / "student.ckpt", weights_only=True)
    scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return CostQualityPoint(
        name=student.name,
        hours=scores["cost/hours"],
        clicks=round(scores["cost/clicks"]),
        miou=scores["val/miou"],
        boundary_iou=scores["val/boundary_iou"],
        tc=scores["val/tc"],
    )


def _module(config: QuickstartConfig, data: Any) -> SemanticSegmentation:
    import torch

    from thriftseg.lightning_modules import PolyLR, SemanticSegmentation
    from thriftseg.losses import CrossEntropy
    from thriftseg.zoo import create_model

    module = SemanticSegmentation(
        network=create_model(config.network, data.num_classes, **config.network_options),
        objective=CrossEntropy(reduction="image"),
        optimizer=functools.partial(torch.optim.AdamW, lr=config.learning_rate, weight_decay=config.weight_decay),
        lr_scheduler=functools.partial(PolyLR, warmup_steps=config.warmup_steps),
        class_names=data.class_names,
    )
    if config.start:
        _take_over(module.network, config.start)
    return module


def _take_over(network: Any, start: str) -> None:
    """Give a network the encoder of a published one, which is not trained any further."""
    from thriftseg.zoo import load

    try:
        published: Any = load(start).network
        network.encoder.load_state_dict(published.encoder.state_dict())
        network.encoder.eval().requires_grad_(False)
    except (AttributeError, RuntimeError) as error:
        raise ConfigError(
            "the students do not start from this checkpoint", expected="one with their encoder", found=start
        ) from error


def _write_video(path: Path, weights: Path, config: QuickstartConfig, seed: int, progress: bool) -> None:
    """Show frame, truth, prediction and errors on a street that is in no split."""
    from thriftseg.synthetic import SceneConfig

    scene = SceneConfig(config.height, config.width, config.demo_frames, DEMO_SEED + seed)
    names, palette = CITYSCAPES.class_names, CITYSCAPES.palette
    with VideoWriter(path, fps=1 / scene.frame_interval) as video:
        shown = track(segmented_clip(scene, weights), "video", total=scene.num_frames, disable=not progress)
        for frame, prediction in shown:
            video.write(compare(frame.image, frame.label, prediction, names, palette, width=DEMO_WIDTH))


def segmented_clip(scene: SceneConfig, weights: Path) -> Iterator[tuple[RenderedFrame, UInt8Array]]:
    """The frames of a synthetic street, and the train ids that a student sees in them.

    Example:
        >>> from thriftseg.synthetic import SceneConfig
        >>> scene, weights = SceneConfig(32, 32, num_frames=1), "deeplabv3plus_mobilenetv2.synthetic_manual"
        >>> [(frame, prediction)] = segmented_clip(scene, weights)
        >>> frame.label.shape == prediction.shape
        True
    """
    from thriftseg.inference import FrameSegmenter, load_weights
    from thriftseg.synthetic import render_clip

    segment = FrameSegmenter(load_weights(weights), device="cpu")
    state = segment.start()
    for frame in render_clip(scene):
        found, state = segment.step(frame.image, state)
        yield frame, found.label_map()


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
