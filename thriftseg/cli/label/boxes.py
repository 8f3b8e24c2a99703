"""`thriftseg label boxes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from thriftseg.cli.options.reader import ObjectData
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.labels import BoxSegmenter, FineTuning


def run(
    data: ObjectData,
    tuning: FineTuning,
    split: str = "train",
    from_tracks: str | None = None,
    from_masks: bool = False,
    box_noise: float = 0.0,
    method: str = "grabcut",
    weights: str | None = None,
    settings: dict[str, Any] | None = None,
    finetune: Literal["middle", "first", "random"] | None = None,
    filter: Literal["oracle", "list"] | None = None,
    threshold: float = 0.5,
    bad_list: str | None = None,
    store: str | None = None,
    export: str | None = None,
    **options: Any,
) -> int:
    """Masks of objects from boxes, with the least of drawn masks.

    Args:
        data: The data set.
        tuning: How box2seg learns a drawn mask.
        split: Split to label.
        from_tracks: File of boxes: own JSON, COCO, TAO, or CSV of MOT.
        from_masks: Take boxes around the true masks instead.
        box_noise: Shift of the sides of these, as a share of their length.
        method: What turns boxes into masks: box2seg, grabcut, grabcut-alone (each box by itself), sam, sam2, hf, or
            what a package adds.
        weights: Weights of box2seg (a checkpoint too) or another network, a name or a path.
        settings: Further settings of the method.
        finetune: Frame of each object whose drawn mask box2seg learns; none if unset.
        filter: Leave out boxes of bad masks: by the truth, or by a list.
        threshold: Least IoU of a good mask, for the oracle.
        bad_list: CSV of bad masks: video, frame, object.
        store: Folder of the label store; `labels/<dataset>` if unset.
        export: Folder to write the labels to in the folders of DAVIS too.
        options: Those of `thriftseg.labels.label_boxes`.
    """
    from thriftseg.exchange import export_objects, read_box_tracks
    from thriftseg.labels import MaskFilter, UnfinishedError, label_boxes

    if bool(from_tracks) == from_masks:
        raise ConfigError("boxes come from a file or from the masks", fix="give either --from_tracks or --from_masks")
    if from_tracks and box_noise:
        raise ConfigError("--box_noise moves boxes around true masks", fix="add --from_masks, or leave it out")
    if (filter == "list") != bool(bad_list):
        raise ConfigError("--filter list and --bad_list belong together", fix="give both or neither")
    if finetune and method != "box2seg":
        raise ConfigError("only box2seg is fine-tuned", found=f"--method {method}", fix="leave --finetune out")
    segmenter = _segmenter(method, weights, settings or {}, tuning)
    chosen = MaskFilter.from_file(bad_list) if bad_list else MaskFilter("oracle", threshold) if filter else None
    dataset = data.open()
    try:
        summary = label_boxes(
            dataset,
            split,
            segmenter,
            tracks=read_box_tracks(from_tracks, dataset, split) if from_tracks else None,
            box_noise=box_noise,
            finetune=finetune,
            mask_filter=chosen,
            store=store,
            **options,
        )
    except UnfinishedError as error:
        print(error.summary)
        raise
    print(summary)
    if export:
        exported = export_objects(dataset, split, export, source=summary.folder.name, store=store)
        print(f"{exported} labels in the folders of DAVIS in {export}")
    return 0


def _segmenter(method: str, weights: str | None, settings: dict[str, Any], tuning: FineTuning) -> BoxSegmenter:
    from thriftseg.labels import Box2SegSegmenter, BoxGrabCut, PromptedSegmenter, create_prompter

    if method == "grabcut" and not weights:
        try:
            return BoxGrabCut(**settings)
        except TypeError as error:
            raise ConfigError(
                "wrong settings of grabcut",
                expected="colour, motion, unsure, iterations, reach, margin, largest_side",
                found=error,
            ) from error
    if method != "box2seg":
        name = "grabcut" if method == "grabcut-alone" else method
        return PromptedSegmenter(create_prompter(name, **{"weights": weights, **settings}))
    if not weights:
        raise ConfigError(
            "box2seg needs weights", fix="pass --weights NAME|PATH of a trained network, or take --method grabcut"
        )
    from thriftseg.lightning_modules import load_box2seg

    crop = {"crop": tuple(settings["crop"])} if "crop" in settings else {}
    try:
        return Box2SegSegmenter(load_box2seg(weights), tuning=tuning, **{**settings, **crop})
    except TypeError as error:
        raise ConfigError("wrong settings of box2seg", expected="crop, margin, clip_to_box", found=error) from error
