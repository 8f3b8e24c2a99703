"""Score a folder of predictions against a folder of true labels, whoever made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from thriftseg import __version__
from thriftseg.datasets import CLASS_FILE, VOS_DATASETS
from thriftseg.errors import ConfigError
from thriftseg.flow import FlowStore, estimator_of
from thriftseg.metrics import BoundaryIoU, Rule, VoidRule, VOSProtocol
from thriftseg.reports.scoring.classes import ClassScorer, ClassScores, IdChoice
from thriftseg.reports.scoring.counting import ClassRule, PairRule
from thriftseg.reports.scoring.effort import Effort
from thriftseg.reports.scoring.layouts import FolderLayout, LayoutName, Located, select_layout
from thriftseg.reports.scoring.objects import ObjectEvaluation, score_objects
from thriftseg.reports.scoring.pairing import Pairing, pair
from thriftseg.reports.scoring.report import EvaluationReport, VideoResult
from thriftseg.taxonomies import Taxonomy
from thriftseg.workers import Workers

Metric = Literal["miou", "boundary_iou", "tc", "jf"]

METRICS: tuple[Metric, ...] = ("miou", "boundary_iou", "tc", "jf")
"""Metrics that can be asked for."""

_SHOWN = 3


def evaluate(
    pred: str | Path,
    gt: str | Path,
    layout: LayoutName,
    metrics: Sequence[Metric] | None = None,
    *,
    classes: str | Path | None = None,
    split: str | None = None,
    pred_ids: IdChoice = "auto",
    gt_ids: IdChoice = "auto",
    boundary_width: int = 2,
    boundary_ratio: float | None = None,
    void: VoidRule = "ignore_after",
    frames: str | Path | None = None,
    flow: str = "dis",
    flow_weights: str | Path | None = None,
    flow_store: str | Path | None = None,
    tc_rule: Rule = "thriftseg",
    jf_protocol: VOSProtocol | None = None,
    fps: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
    devices: int | None = None,
    progress: bool = True,
) -> EvaluationReport:
    """Score the PNGs of a folder against true labels.

    Counts are pooled over all videos, never averaged per image; an absent class has no score. Every labelled frame must
    have exactly one prediction of the same size; predictions of further frames serve temporal consistency. Only one
    frame per process is in memory, and for `jf` the label maps of one video.

    The 95 % intervals say how far the scores would move with other videos: videos are drawn with replacement. With
    fewer than 5 videos blocks of one second are drawn, which says less, as neighbouring seconds look alike.

    Args:
        pred: Folder of predictions, searched with its sub-folders: palette or greyscale PNGs of ids, or PNGs in the
            colours of the class table. Names as in the data set; endings are free where the beginning names the frame.
        gt: Root of the data set, or any folder of true labels in its naming.
        layout: How files are named, a key of `FOLDER_LAYOUTS`.
        metrics: Some of `miou`, `boundary_iou`, `tc`, `jf`; by default `miou` and `boundary_iou`, or `jf` where there
            are no classes.
        classes: YAML class table (for `folder`, that of its root by default), or `idd19` for IDD in 19 classes.
        split: Split to score; by default the customary one of those that are there. `all` for all videos where splits
            are lists of videos.
        pred_ids: Whether predictions hold ids of label files or train ids. By default an id that only exists as a label
            id decides for label ids, an id that is no class as a label id for train ids.
        gt_ids: The same for true labels.
        boundary_width: Width of the boundary band in pixels.
        boundary_ratio: Width as a share of the image diagonal instead.
        void: Rule for boundary pixels without a true class, see `BoundaryIoU`.
        frames: Folder of the pictures, named like the predictions; found through the layout by default.
        flow: Estimator of optical flow, `dis` or `raft`.
        flow_weights: Weights of RAFT.
        flow_store: Folder that keeps flow for the next run.
        tc_rule: Rule of temporal consistency, see `TemporalConsistency`.
        jf_protocol: Frames and objects that count, see `JAndF`; by default those of the reader of the data set, and
            `all_frames` where none reads objects.
        fps: Native frame numbers per second, for the blocks of the bootstrap; that of the data set by default.
        resamples: Draws of the bootstrap; 0 for no intervals.
        seed: Seed of the draws.
        devices: Processes; by default one per core.
        progress: Show a progress bar on stderr.

    Returns:
        The scores; `write` stores them.

    Raises:
        DatasetError: Folders are missing, the same, or a copy of one another; predictions are missing or of another
            size; a file is unreadable or holds ids that the class table does not have; it is unclear what ids mean.
        ConfigError: A setting is out of range, or does not go with the layout.
    """
    settings = dict(locals())
    rules = select_layout(layout, classes)
    if devices is not None and devices < 1:
        raise ConfigError("number of devices", expected="at least 1", found=devices)
    effort = Effort(Workers(devices, "cpu", shared=False, progress=progress), resamples, seed)
    located = rules.locate(Path(gt), split)
    rules = _with_own_classes(rules, Path(gt))
    rules = dataclasses.replace(rules, fps=rules.fps if fps is None else fps)
    if not rules.fps > 0:
        raise ConfigError("fps is out of range", expected="above 0", found=fps)
    wanted = _wanted(metrics, rules)
    reader = VOS_DATASETS.get(layout)
    protocol = jf_protocol or ("all_frames" if reader is None else reader().protocol)
    pairs = PairRule(FlowStore(flow_store, estimator_of(flow, flow_weights)), tc_rule) if "tc" in wanted else None
    pictures = _pictures(frames, located) if pairs else None
    pairing = pair(rules, located, Path(pred), pictures, optional=wanted == ("jf",) and protocol == "davis")
    by_class, by_object = None, None
    if rules.taxonomy is not None and wanted != ("jf",):
        boundary = _boundary(boundary_width, boundary_ratio) if "boundary_iou" in wanted else 0
        rule = ClassRule(boundary, BoundaryIoU(1, void=void).void)
        truth_ids = rules.gt_ids if gt_ids == "auto" else gt_ids
        scorer = ClassScorer(rules.taxonomy, wanted, rule, pairs, pred_ids, truth_ids, rules.fps, effort)
        by_class = scorer.score(pairing.videos)
    if "jf" in wanted:
        by_object = score_objects(pairing.videos, protocol, rules.fps, effort)
    settings |= {
        "metrics": wanted,
        "split": located.split,
        "fps": rules.fps,
        "frames": pictures,
        "jf_protocol": protocol if by_object else None,
        "tc_rule": tc_rule if pairs else None,
    }
    return _report(settings, pairing, rules.taxonomy, by_class, by_object, pairs)


def _wanted(metrics: Sequence[Metric] | None, layout: FolderLayout) -> tuple[Metric, ...]:
    """The metrics in their usual order."""
    chosen = metrics or (("miou", "boundary_iou") if layout.taxonomy else ("jf",))
    unknown = [name for name in chosen if name not in METRICS]
    if unknown:
        raise ConfigError("no such metric", expected=", ".join(METRICS), found=", ".join(unknown))
    if "jf" in chosen and not layout.has_objects:
        raise ConfigError(
            "jf compares objects", found=f"layout {layout.name}, whose ids are classes", fix="leave out jf"
        )
    if set(chosen) - {"jf"} and layout.taxonomy is None:
        raise ConfigError(
            f"{', '.join(name for name in chosen if name != 'jf')} needs classes",
            found=f"layout {layout.name} without a class table",
            fix="pass --classes YAML, or --metrics jf",
        )
    return tuple(name for name in METRICS if name in chosen)


def _with_own_classes(layout: FolderLayout, gt: Path) -> FolderLayout:
    """Take the class table that lies in the root of a user's own clips."""
    if layout.name != "folder" or layout.taxonomy is not None:
        return layout
    tables = (folder / CLASS_FILE for folder in (gt, *gt.resolve().parents[:2]))
    found = next((path for path in tables if path.is_file()), None)
    return layout if found is None else dataclasses.replace(layout, taxonomy=Taxonomy.from_yaml(found))


def _pictures(frames: str | Path | None, located: Located) -> Path:
    folder = Path(frames) if frames is not None else located.frames
    if folder is None:
        raise ConfigError(
            "temporal consistency needs the pictures of the frames",
            path=located.labels,
            fix="pass --frames DIR, or point --gt to the root of the data set",
        )
    return folder


def _boundary(width: int, ratio: float | None) -> float:
    """Width in pixels, or a ratio below 1."""
    if ratio is None:
        return BoundaryIoU(1, width).width
    if not 0 < ratio < 1:
        raise ConfigError("ratio of the boundary is out of range", expected="above 0 and below 1", found=ratio)
    return ratio


def _report(
    settings: dict[str, Any],
    pairing: Pairing,
    taxonomy: Taxonomy | None,
    by_class: ClassScores | None,
    by_object: ObjectEvaluation | None,
    pairs: PairRule | None,
) -> EvaluationReport:
    names = [video.name for video in pairing.videos]
    if by_class is not None:
        settings |= dict(zip(("pred_ids", "gt_ids"), by_class.spaces, strict=True))
    parts = [part for part in (by_class, by_object) if part is not None]
    frames = [max(counts) for counts in zip(*(part.frames for part in parts), strict=True)]
    pair_counts = by_class.pairs if by_class else [0] * len(names)
    rows = [
        VideoResult(
            name, frames[index], pair_counts[index], {k: v for part in parts for k, v in part.per_video[index].items()}
        )
        for index, name in enumerate(names)
    ]
    warnings = [warning for part in parts for warning in part.warnings]
    surplus = ["/".join(path.parts[-2:]) for path in pairing.surplus]
    if surplus:
        shown = ", ".join(surplus[:_SHOWN]) + (", ..." if len(surplus) > _SHOWN else "")
        warnings.insert(0, f"{len(surplus)} PNGs among the predictions belong to nothing that is scored: {shown}")
    return EvaluationReport(
        settings=settings,
        version=__version__,
        frames=sum(frames),
        pairs=sum(pair_counts),
        videos=len(names),
        scores={name: score for part in parts for name, score in part.scores.items()},
        class_names=taxonomy.class_names if by_class and taxonomy else [],
        per_class=by_class.per_class if by_class else {},
        per_category=by_class.per_category if by_class else {},
        per_video=rows,
        per_object=by_object.per_object if by_object else [],
        confusion=by_class.confusion if by_class else None,
        flow=repr(pairs.flow.estimator) if pairs else None,
        warnings=tuple(warnings),
    )
