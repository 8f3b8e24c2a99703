"""Video object segmentation: STM, trained on masks that are true or made of boxes, and Box2Seg, which makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from recipes import Experiment, Recipe, Settings, Tree, component

READERS = {"davis": "DAVIS", "youtube_vos": "YouTubeVOS"}
NAMES = {"davis": "DAVIS-2017", "youtube_vos": "YouTube-VOS", "synthetic": "synthetic videos"}
LABELS = {
    "gt": "true masks",
    "grabcut": "boxes by GrabCut",
    "box2seg": "boxes by Box2Seg",
    "ft_first": "boxes by Box2Seg, fine-tuned on the first mask of each object",
    "ft_middle": "boxes by Box2Seg, fine-tuned on the mask in the middle of each object",
}
LOSSES = {"ce": "CrossEntropy", "phuber": "PartiallyHuberisedCrossEntropy"}

STEPS = 200_000
"""800 000 draws of the public training code, four of them per step."""

SYNTHETIC, SYNTHETIC_STATIC, SYNTHETIC_BOXES = "data/synthetic", "data/synthetic_static", "data/synthetic_boxes"
BOX2SEG, SMALL_BOX2SEG = "coco_box2seg", "synthetic_box2seg_r18"
STATIC, SMALL_STM = "coco_stm_static", "synthetic_stm_r18"
SMALL_STATIC = "synthetic_stm_r18_static"
_SYNTHETIC_OPTIONS = {
    SYNTHETIC: "--train_clips 60 --val_clips 20 --frames 24 --own_colors",
    SYNTHETIC_STATIC: "--train_clips 200 --val_clips 10 --frames 8 --own_colors --seed 2",
    SYNTHETIC_BOXES: "--train_clips 60 --val_clips 20 --frames 24 --seed 1",
}
SMALL_CROP, SMALL_MARGIN = [97, 97], 16
SMALL_TUNING = " --steps 50 --lr 1e-4"

BOXES_OF_MASKS = "Boxes are those of the true masks; give boxes of your own by --from_tracks FILE."
ORACLE = "The filter looks at the truth: call the labels oracle-filtered."
NO_VALIDATION = (
    "Nothing is validated in training, as the masks of valid are not public; to do so on videos that are held out of "
    "training: --data.dataset.held_out 0.05 --data.val_split held_out --trainer.limit_val_batches 1.0."
)
SERVER = (
    "What the server answers belongs into test.json of the same folder: "
    '{"command": "server", "network_sha256": null, "metrics": {"test/overall": 0.793}}.'
)
OWN_STEPS = "The number of steps is ours; none is published."


def vos(experiment: Experiment) -> Recipe:
    """Study of labels made of boxes: networks that follow objects, and what comes before them."""
    return _STAGES[experiment.settings.get("stage", "main")](experiment)


def _main(experiment: Experiment) -> Recipe:
    settings, small = experiment.settings, bool(experiment.settings.get("small"))
    data, labels = settings["data"], settings["labels"]
    source = _source(settings)
    build = {"synthetic": _small_synthetic, "davis": _small_finetuned}[data] if small else _published
    trainer, model, loading = build(experiment)
    reader = component(f"datasets.{READERS.get(data, 'DAVIS')}")
    words = f"STM-{'R18' if small else 'R50'} on {NAMES[data]}: {LABELS[labels]}"
    words += f", without masks of an IoU below {settings['filter']}" if "filter" in settings else ""
    words += ", partially Huberised cross entropy" if settings["loss"] == "phuber" else ""
    return Recipe(
        words,
        _commands(settings),
        trainer,
        model,
        {"dataset": reader} | ({"labels": source} if source else {}) | loading,
        list(_notes(settings)),
        module="VOSDataModule",
        options=_start(settings),
        tests=[] if small else _tests(experiment),
        roots={} if data == "synthetic" else {"dataset": data},
    )


def _notes(settings: Settings) -> Iterator[str]:
    if settings["labels"] != "gt":
        yield BOXES_OF_MASKS
    if "filter" in settings:
        yield ORACLE
    if settings["data"] == "youtube_vos":
        yield NO_VALIDATION
    if not settings.get("small"):
        yield SERVER


def _static(experiment: Experiment) -> Recipe:
    settings = experiment.settings
    return _small_static() if settings.get("small") else _published_static(experiment)


def _small_static() -> Recipe:
    model = _small_stm(component("losses.CrossEntropy"))
    # without pre-trained weights there are no statistics to keep
    model["init_args"] |= {"freeze_batch_norm": False, **_adamw(5e-4)}
    still = {"static": component("datasets.DAVIS"), "frames": 2, "max_objects": 2, "batch_size": 8}
    return Recipe(
        "STM-R18 from scratch on single synthetic frames",
        [_synthesize(SYNTHETIC), _synthesize(SYNTHETIC_STATIC)],
        {"max_steps": 300, "check_val_every_n_epoch": None, "limit_val_batches": 0, **_small_trainer()},
        model,
        {"dataset": component("datasets.DAVIS")} | _small_clips() | still | {"scale": [1.0, 1.3], "min_share": 0.02},
        [],
        module="VOSDataModule",
        options=f" --data.dataset.root {SYNTHETIC} --data.static.root {SYNTHETIC_STATIC}",
        roots={},
    )


def _published_static(experiment: Experiment) -> Recipe:
    trainer = {"max_steps": STEPS, "check_val_every_n_epoch": None, "val_check_interval": 5000}
    data = {"dataset": component("datasets.DAVIS"), "static": component("datasets.COCO"), "static_share": 1.0}
    return Recipe(
        "STM-R50, first stage: clips of three frames made of single images of COCO, validated on DAVIS-2017",
        [],
        trainer,
        _stm(component("losses.CrossEntropy")),
        data | _clips(),
        [SERVER],
        module="VOSDataModule",
        tests=_tests(experiment),
        roots={"dataset": "davis", "static": "coco"},
    )


def _box2seg(experiment: Experiment) -> Recipe:
    return _small_box2seg() if experiment.settings.get("small") else _published_box2seg()


def _published_box2seg() -> Recipe:
    network = component("zoo.Box2Seg", backbone="tu-xception65", pretrained=True, output_stride=16)
    loss = component("losses.BootstrappedCrossEntropy", share=0.25)
    model = component("lightning_modules.BoxSegmentation", network=network, loss=loss, **_adam())
    trainer = {
        "max_steps": STEPS,
        "check_val_every_n_epoch": None,
        "val_check_interval": 20_000,
        "limit_val_batches": 500,
    }
    data = {
        "dataset": component("datasets.COCO"),
        "crop": [385, 385],
        "margin": 50,
        "jitter": 0.05,
        "flip": 0.5,
        "min_size": 100,
        "batch_size": 4,
        "num_workers": 8,
    }
    return Recipe(
        "Box2Seg with Xception-65 on the instances of COCO, which then makes labels of boxes",
        [],
        trainer,
        model,
        data,
        [OWN_STEPS, BOXES_OF_MASKS],
        module="BoxDataModule",
        tests=[_label("youtube_vos", labels) for labels in ("box2seg", "ft_first", "ft_middle")],
        roots={"dataset": "coco"},
    )


def _small_box2seg() -> Recipe:
    network = component("zoo.Box2Seg", backbone="resnet18", decoder_channels=64)
    model = component(
        "lightning_modules.BoxSegmentation",
        network=network,
        loss=component("losses.BootstrappedCrossEntropy", share=0.25),
        freeze_batch_norm=False,
        **_adamw(1e-3),
    )
    trainer = {"max_steps": 700, "check_val_every_n_epoch": None, "val_check_interval": 350, "limit_val_batches": 20}
    data = {
        "dataset": component("datasets.DAVIS"),
        "crop": SMALL_CROP,
        "margin": SMALL_MARGIN,
        "min_size": 30,
        "batch_size": 16,
        "num_workers": 2,
    }
    return Recipe(
        "Box2Seg-R18 from scratch on synthetic videos, for two CPU cores; it makes labels of other videos",
        [_synthesize(SYNTHETIC_BOXES)],
        trainer | _small_trainer(),
        model,
        data,
        [BOXES_OF_MASKS],
        module="BoxDataModule",
        options=f" --data.dataset.root {SYNTHETIC_BOXES}",
        tests=[
            _synthesize(SYNTHETIC),
            *(_label("synthetic", labels) for labels in ("grabcut", "box2seg", "ft_first", "ft_middle")),
        ],
    )


_STAGES: dict[str, Callable[[Experiment], Recipe]] = {"main": _main, "static": _static, "box2seg": _box2seg}


def _published(experiment: Experiment) -> tuple[Tree, Tree, Tree]:
    loading = _clips()
    trainer: Tree = {"max_steps": STEPS, "check_val_every_n_epoch": None}
    if experiment.settings["data"] == "youtube_vos":
        trainer |= {"limit_val_batches": 0}
        loading["gap"]["annotation_step"] = 5
        loading |= {"val_split": "train", "test_split": "valid"}
    else:
        trainer |= {"val_check_interval": 5000}
        loading["clips_per_video"] = 20
    return trainer, _stm(_loss(experiment.settings)), loading


def _stm(loss: Tree) -> Tree:
    """The network and the optimisation of its authors."""
    network = component("zoo.STM", backbone="resnet50", pretrained=True)
    return component("lightning_modules.VideoObjectSegmentation", network=network, loss=loss, **_adam())


def _clips() -> Tree:
    return {
        "crop": [384, 384],
        "resize": 480,
        "frames": 3,
        "gap": {"first": 0, "last": 25, "step": 1, "every": 3000},
        "max_objects": 5,
        "batch_size": 4,
        "eval_resize": 480,
        "num_workers": 8,
    }


def _small_synthetic(experiment: Experiment) -> tuple[Tree, Tree, Tree]:
    model = _small_stm(_loss(experiment.settings))
    model["init_args"] |= {"freeze_batch_norm": False, **_adamw(4e-4)}
    trainer = {"max_steps": 300, "check_val_every_n_epoch": None, "val_check_interval": 300, **_small_trainer()}
    return trainer, model, _small_clips()


def _small_finetuned(experiment: Experiment) -> tuple[Tree, Tree, Tree]:
    model = _small_stm(_loss(experiment.settings))
    model["init_args"] |= _adamw(1e-4)
    trainer = {"max_steps": 120, "check_val_every_n_epoch": None, "val_check_interval": 120, **_small_trainer()}
    return trainer, model, _small_clips() | {"resize": 96, "clips_per_video": 200}


def _small_stm(loss: Tree) -> Tree:
    widths = {"key_channels": 64, "value_channels": 256, "decoder_channels": 64}
    comparison = {"shared_keys": True, "similarity": "l2", "stride": 8}
    memory = {"max_memory_frames": 8, "remember_previous": False}
    network = component("zoo.STM", backbone="resnet18", **widths, **comparison, **memory)
    return component("lightning_modules.VideoObjectSegmentation", network=network, loss=loss)


def _small_clips() -> Tree:
    return {
        "crop": [96, 160],
        "scale": [1.0, 1.15],
        "frames": 3,
        "gap": {"first": 16, "last": 16},
        "max_objects": 3,
        "min_share": 0.01,
        "clips_per_video": 20,
        "batch_size": 3,
        "eval_resize": 96,
        "num_workers": 2,
    }


def _small_trainer() -> Tree:
    return {"num_sanity_val_steps": 0, "gradient_clip_val": 1.0, "log_every_n_steps": 10}


def _loss(settings: Settings) -> Tree:
    tau = {"tau": 3.0} if settings["loss"] == "phuber" else {}
    return component(f"losses.{LOSSES[settings['loss']]}", **tau)


def _adam() -> Tree:
    return {"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-5}}}


def _adamw(rate: float) -> Tree:
    return {
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": rate, "weight_decay": 1e-4}},
        "lr_scheduler": component("lightning_modules.PolyLR"),
    }


def _source(settings: Settings) -> str | None:
    """Name of the labels in the store, as `thriftseg label boxes` gives it."""
    labels = settings["labels"]
    if labels == "gt":
        return None
    method = "grabcut" if labels == "grabcut" else "box2seg"
    tuned = f"_{labels}" if labels.startswith("ft_") else ""
    return f"boxes_{method}{tuned}" + (f"_oracle{settings['filter']}" if "filter" in settings else "")


def _commands(settings: Settings) -> list[str]:
    """What has to be there before training."""
    data, labels = settings["data"], settings["labels"]
    commands = [_synthesize(SYNTHETIC)] if data == "synthetic" else []
    if labels not in ("gt", "grabcut"):
        commands += _box2seg_commands(small=bool(settings.get("small")))
    if labels != "gt":
        commands.append(_label(data, labels, settings.get("filter"), small=bool(settings.get("small"))))
    if not settings.get("small"):
        commands.append(f"thriftseg fit --config vos/{STATIC}.yaml")
        return commands
    commands += [_synthesize(SYNTHETIC)] if data != "synthetic" else []
    roots = f"--data.dataset.root {SYNTHETIC} --data.static.root {SYNTHETIC_STATIC}"
    still, follow = (f"thriftseg fit --config vos/{name}.yaml" for name in (SMALL_STATIC, SMALL_STM))
    commands += [_synthesize(SYNTHETIC_STATIC), f"{still} {roots}"]
    commands += [follow + _start({"data": "synthetic", "small": True})] if data != "synthetic" else []
    return commands


def _box2seg_commands(small: bool) -> list[str]:
    if not small:
        return [f"thriftseg fit --config vos/{BOX2SEG}.yaml"]
    fit = f"thriftseg fit --config vos/{SMALL_BOX2SEG}.yaml --data.dataset.root {SYNTHETIC_BOXES}"
    return [_synthesize(SYNTHETIC_BOXES), fit]


def _label(data: str, labels: str, threshold: float | None = None, small: bool | None = None) -> str:
    """The command that turns boxes around the true masks into labels."""
    small = data == "synthetic" if small is None else small
    command = "thriftseg label boxes --dataset " + (f"davis --root {SYNTHETIC}" if data == "synthetic" else data)
    command += " --from_masks"
    if labels == "grabcut":
        command += " --method grabcut"
    else:
        run = SMALL_BOX2SEG if small else BOX2SEG
        command += f" --method box2seg --weights runs/{run}/checkpoints/last.ckpt"
        command += f' --settings \'{{"crop": {SMALL_CROP}, "margin": {SMALL_MARGIN}}}\'' if small else ""
    if labels.startswith("ft_"):
        command += f" --finetune {labels.removeprefix('ft_')}" + (SMALL_TUNING if small else "")
    return command + (f" --filter oracle --threshold {threshold}" if threshold else "")


def _synthesize(folder: str) -> str:
    options = _SYNTHETIC_OPTIONS[folder]
    return f"thriftseg data synthesize --layout davis --height 96 --width 160 {options} --out {folder}"


def _start(settings: Settings) -> str:
    """Options of the training: where the data are, and the weights to go on from."""
    synthetic = settings["data"] == "synthetic"
    earlier = SMALL_STATIC if synthetic else SMALL_STM if settings.get("small") else STATIC
    root = f" --data.dataset.root {SYNTHETIC}" if synthetic else ""
    return f"{root} --weights runs/{earlier}/checkpoints/last.ckpt"


def _tests(experiment: Experiment) -> list[str]:
    """Scores on DAVIS, and predictions for the server of YouTube-VOS, each in a folder of the run."""
    run = experiment.row.folder
    test = f"thriftseg test --config {experiment.name} --ckpt_path runs/{run}/checkpoints/last.ckpt"
    davis, youtube = (f" --data.dataset thriftseg.datasets.{reader}" for reader in READERS.values())
    folder = f"runs/{run}/youtube_vos/predictions"
    return [
        f"{test}{davis} --data.test_split val --name {run}/davis",
        f"{test}{youtube} --data.test_split valid --model.predictions {folder} --name {run}/youtube_vos",
        f"thriftseg data submit --dataset youtube_vos --split valid --predictions {folder} --out {run}.zip",
    ]
