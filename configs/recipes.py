"""What the experiments of a paper have in common: networks, optimisation, data, and the commands that make labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thriftseg.datamodules.mixing.patterns import offsets_of
from thriftseg.reports.tables.published import PublishedRow

SAM = "--weights facebook/sam-vit-huge"
SAM2 = "--weights facebook/sam2.1-hiera-large"
BACKBONES = {"r18": "resnet18", "r34": "resnet34", "r101": "resnet101", "mob": "mobilenet_v2"}
IMAGE_NETWORKS = {"dl": "DeepLabV3Plus", "psp": "PSPNet"}
TEACHERS = {"dl": "dl_r101", "psp": "psp_r101", "small": "dl_r34"}
SMALL_DECODERS = {"dl_r18": 64, "dl_r34": 128}
NAMES = {
    "tmanet": "TMANet-R50",
    "td2fanet": "TD2-FANet18",
    "dl": "DeepLabV3+",
    "psp": "PSPNet",
    "cityscapes": "Cityscapes",
    "camvid": "CamVid",
    "idd": "IDD",
}
DATASETS = {"cityscapes": "Cityscapes", "camvid": "CamVid", "idd": "IDD"}

IDD_SIZE = [1080, 1920]
IDD_SAMPLES = 4032
SMALL_CAMVID = {
    "crop": [96, 128],
    "resize": [96, 128],
    "scale": [0.75, 1.5],
    "photometric": False,
    "batch_size": 8,
    "eval_batch_size": 8,
    "num_workers": 2,
    "cache": "ram",
}
SMALL_TRAINER = {
    "max_epochs": 12,
    "precision": "bf16-mixed",
    "check_val_every_n_epoch": 4,
    "gradient_clip_val": 5.0,
    "log_every_n_steps": 10,
}
VALIDATION = {"check_val_every_n_epoch": None, "val_check_interval": 4000}  # the last one after the last step
# From scratch, Gated CRF lets classes of few clicks vanish unless the network has learned something before it joins.
SMALL_GATED_CRF_START = 0.3
# 1 / log(1.10 + share of the class) in train, scaled to a mean of 1 over pixels
CAMVID_CLASS_WEIGHTS = [1.0, 0.78, 2.2, 0.69, 1.49, 1.2, 2.18, 2.13, 1.69, 2.28, 2.3]

SHARE_TEACHER = (
    "The teacher is trained first, into runs/<name>/teacher; to share one, pass "
    "--model.init_args.teacher_weights runs/<other>/teacher/teacher.ckpt."
)

PER_PROCESS = (
    "Two images per process, as published; on how many GPUs is not: see --trainer.devices, or --data.batch_size on one."
)

Settings = Mapping[str, Any]
Tree = dict[str, Any]


@dataclass
class Experiment:
    """A config to write, and the rows that it serves.

    Attributes:
        name: Path below `configs/`.
        row: The first of its rows.
        rows: "<table> <key>" of all of them.
    """

    name: str
    row: PublishedRow
    rows: list[str] = field(default_factory=list)

    @property
    def dataset(self) -> str:
        """First part of the file's name."""
        return Path(self.name).stem.partition("_")[0]

    @property
    def settings(self) -> Settings:
        """What the row says about its config."""
        return self.row.settings


@dataclass
class Recipe:
    """What a config says, and what stands in the comment on its top.

    Attributes:
        title: What it trains.
        commands: Commands that make its labels.
        trainer: Settings of the trainer.
        model: The module.
        data: Arguments of the data module.
        notes: What else there is to say.
        module: Class of the data module.
        options: What `thriftseg fit` needs beside the config.
        tests: Commands that follow the training.
        roots: Data set by the setting that takes its folder; empty where the commands name it.
    """

    title: str
    commands: list[str]
    trainer: Tree
    model: Tree
    data: Tree
    notes: list[str] = field(default_factory=list)
    module: str = "SemanticDataModule"
    options: str = ""
    tests: list[str] = field(default_factory=list)
    roots: Mapping[str, str] = field(default_factory=dict)


def samsam2(experiment: Experiment) -> Recipe:
    """Study of SAM 2 pseudo-labels and refined coarse labels."""
    labels, mixture, commands = _mixture(experiment)
    build = _small_supervised if experiment.settings.get("small") else _VIDEO_NETWORKS[experiment.settings["network"]]
    title, trainer, model, data = build(experiment)
    if experiment.settings.get("clip_selection"):
        mixture["clip_selection"] = experiment.settings["clip_selection"]
    dataset = _dataset(experiment.dataset)
    if experiment.settings.get("everything"):
        dataset["init_args"] = {"coarse_source": "train_extra"}
    notes = [SHARE_TEACHER] if "teacher" in model["init_args"] else []
    notes += [PER_PROCESS] if experiment.settings["network"] == "tmanet" else []
    data = {"dataset": dataset, "mixture": mixture} | data
    roots = {"dataset": experiment.dataset}
    return Recipe(f"{title}: {labels}", commands, trainer, model, data, notes, roots=roots)


def weclick(experiment: Experiment) -> Recipe:
    """WeClick: stages of the teacher and of students."""
    settings, small = experiment.settings, bool(experiment.settings.get("small"))
    family = settings["network"].partition("_")[0]
    init: Tree = {"network": _image_network(settings["network"], small)}
    if "kd" in settings["terms"]:
        init["teacher"] = _image_network(TEACHERS["small" if small else family], small)
    objective: Tree = (
        {"gated_crf_weight": 0.1, "gated_crf_start": SMALL_GATED_CRF_START if small else 0.005}
        if settings.get("gated_crf", True)
        else {"gated_crf_weight": 0.0}
    )
    data: Tree = {"dataset": _dataset(experiment.dataset), "mixture": _click_mixture(experiment.dataset)}
    objective["distillation_weight"] = float("kd" in settings["terms"])
    objective["memory_flow_weight"] = float("mfd" in settings["terms"])
    if "mfd" in settings["terms"]:
        data["neighbours"] = {"direction": "forward", "n": 3} | settings["neighbours"]
        if small:
            data["neighbour_flow"] = True
        else:
            objective["flow"] = component("flow.RAFT", weights="C_T_SKHT_V2")
    init["objective"] = component("lightning_modules.WeClick", **objective)
    trainer, optimisation, loading = _click_schedule(experiment.dataset, small)
    return Recipe(
        f"WeClick on {NAMES[experiment.dataset]}: {_describe_student(settings, small)}",
        [f"thriftseg label clicks --dataset {experiment.dataset}"],
        trainer,
        component("lightning_modules.SemanticSegmentation", **init, **optimisation),
        data | loading,
        list(_click_notes(experiment)),
        roots={"dataset": experiment.dataset},
    )


def _click_notes(experiment: Experiment) -> Iterator[str]:
    terms = experiment.settings["terms"]
    if "kd" in terms:
        yield SHARE_TEACHER
    if "mfd" in terms and experiment.dataset == "camvid":
        yield "Neighbours: frames of the 30 Hz videos in train_sequence, see thriftseg.datasets.CamVid."


def _mixture(experiment: Experiment) -> tuple[str, Tree, list[str]]:
    """In words, as settings, and the commands that make the labels."""
    settings, dataset = experiment.settings, experiment.dataset
    if settings.get("everything"):
        parts = [{"labels": "manual"}, {"labels": "coarse"}]
        return "all fine and all coarse labels", {"parts": parts, "cost_model": "published"}, []
    if "coarse" in settings:
        return _coarse_mixture(experiment)
    pattern = settings["pattern"]
    total = {"total": IDD_SAMPLES} if dataset == "idd" else {}
    price = {"cost_model": "polygon" if dataset == "camvid" else "published"}
    if pattern == "N1":
        return "manual labels only", {"pattern": pattern} | total | price, []
    offsets = [offset for offset in offsets_of(pattern) if offset]
    propagated = settings.get("propagated", "sam2")
    reader = f" --reader '{{\"frame_size\": {IDD_SIZE}}}'" if dataset == "idd" else ""
    command = f"thriftseg label propagate --dataset {dataset}{reader} --method sam2 {SAM2} "
    commands = [f"{command}--offsets={','.join(map(str, offsets))}"]
    words = f"pattern {pattern}, labels of SAM 2 at offset{'s' * (len(offsets) > 1)} {', '.join(map(str, offsets))}"
    words += ", manual labels at 0" if 0 in offsets_of(pattern) else ""
    if propagated != "sam2":
        words += "; what SAM 2 left open is filled by a student of the same labels"
        weights = f"runs/{dataset}_{settings['network']}_{pattern.lower()}/checkpoints/last.ckpt"
        commands += [
            f"thriftseg fit --config samsam2/{dataset}_{settings['network']}_{pattern.lower()}.yaml",
            f"thriftseg label fill --dataset {dataset} --source sam2 --out_source {propagated} --weights {weights}",
        ]
    if settings.get("clip_selection") == "flow":
        words += ", on the clips that move most"
    return words, {"pattern": pattern, "propagated": propagated} | total | price, commands


def _coarse_mixture(experiment: Experiment) -> tuple[str, Tree, list[str]]:
    source, dataset, percent = experiment.settings["coarse"], experiment.dataset, experiment.row.coarse_percent
    commands = [f"thriftseg label coarse --dataset {dataset}"] if dataset == "camvid" else []
    refine = f"thriftseg label refine --dataset {dataset} --source {source}"
    how, command = {
        "coarse": ("not refined", []),
        "refined": ("refined by SAM", [f"{refine} --method sam {SAM} --gate off"]),
        "amg": ("refined by automatic masks of SAM 2", [f"{refine} --method amg {SAM2} --gate off"]),
    }[source]
    if dataset == "camvid" and source == "refined":
        how, command = "refined by GrabCut", [f"{refine} --method grabcut --classes sign,car,pedestrian,bicyclist"]
    price = "polygon" if dataset == "camvid" else "published"
    mixture = {"coarse_percent": percent, "coarse": source, "cost_model": price}
    return f"{percent} % coarse labels, {how}", mixture, commands + command


def _tmanet(experiment: Experiment) -> tuple[str, Tree, Tree, Tree]:
    network = component("zoo.TMANet", depth=50, memory_frames=1, pretrained=True, auxiliary=True)
    model = component(
        "lightning_modules.SemanticSegmentation",
        network=network,
        objective=[component("lightning_modules.LabelTerm", auxiliary_weight=0.4)],
        **_sgd(0.01, 5e-4, min_factor=0.01),
    )
    trainer = {"max_steps": 40000, "precision": "bf16-mixed", "sync_batchnorm": True, **VALIDATION}
    data = {"crop": [769, 769], "scale": [0.5, 2.0], "batch_size": 2, "num_workers": 8}
    return f"{NAMES['tmanet']} on {NAMES[experiment.dataset]}, one past frame", trainer, model, data


def _td2fanet(experiment: Experiment) -> tuple[str, Tree, Tree, Tree]:
    model = component(
        "lightning_modules.SemanticSegmentation",
        network=component("zoo.TDNetFANet", backbone="resnet18", pretrained=True),
        teacher=_image_network(TEACHERS["psp"], small=False),
        objective=component(
            "lightning_modules.TDNetDistillation",
            loss=component("losses.OHEMCrossEntropy", threshold=0.7),
            full_weight=1.0,
            sub_path_weight=0.5,
        ),
        **_sgd(0.01, 1e-4, warmup_steps=1000),
    )
    trainer = {
        "max_steps": 40000,
        "precision": "bf16-mixed",
        "strategy": "ddp_find_unused_parameters_true",
        **VALIDATION,
    }
    data = {"crop": [768, 1536], "scale": [0.5, 2.0], "photometric": False, "batch_size": 8, "num_workers": 8}
    title = f"{NAMES['td2fanet']} on {NAMES[experiment.dataset]}, taught by {_name(TEACHERS['psp'])}"
    return title, trainer, model, data


_VIDEO_NETWORKS: dict[str, Callable[[Experiment], tuple[str, Tree, Tree, Tree]]] = {
    "tmanet": _tmanet,
    "td2fanet": _td2fanet,
}


def _small_supervised(experiment: Experiment) -> tuple[str, Tree, Tree, Tree]:
    model = component(
        "lightning_modules.SemanticSegmentation",
        network=_image_network(experiment.settings["network"], small=True),
        objective=component("losses.CrossEntropy", class_weights=CAMVID_CLASS_WEIGHTS),
        **_adamw(),
    )
    title = f"{_name(experiment.settings['network'])} from scratch on CamVid at 96x128, for two CPU cores"
    return title, SMALL_TRAINER, model, SMALL_CAMVID


def _click_mixture(dataset: str) -> Tree:
    return {"parts": [{"labels": "clicks"}], "cost_model": "polygon" if dataset == "camvid" else "published"}


def _click_schedule(dataset: str, small: bool) -> tuple[Tree, Tree, Tree]:
    """Trainer, optimisation, and what remains of the data."""
    if small:
        return SMALL_TRAINER, _adamw(), SMALL_CAMVID
    side, batch, epochs, rate = (360, 8, 200, 1e-4) if dataset == "camvid" else (768, 4, 120, 7e-3)
    trainer = {"max_epochs": epochs, "precision": "bf16-mixed", "check_val_every_n_epoch": 10}
    data = {"crop": [side, side], "scale": [0.5, 2.0], "photometric": False, "batch_size": batch, "num_workers": 8}
    return trainer, _sgd(rate, 1e-4), data


def _describe_student(settings: Settings, small: bool) -> str:
    words = f"{_name(settings['network'])}"
    words += " from scratch at 96x128, for two CPU cores," if small else ""
    words += " on clicks" + (" with Gated CRF" if settings.get("gated_crf", True) else "")
    if "kd" in settings["terms"]:
        family = settings["network"].partition("_")[0]
        words += f", taught by {_name(TEACHERS['small' if small else family])}"
    if "mfd" in settings["terms"]:
        policy = {"direction": "forward", "n": 3, "distance": None} | settings["neighbours"]
        step = f"{policy['distance']} apart" if policy["distance"] else "at random distances"
        sides = {"forward": "past", "two_sided": "past and future", "backward": "future"}[policy["direction"]]
        words += f" and by memory flow from {policy['n'] - 1} {sides} frames {step}"
    return words


def _image_network(name: str, small: bool) -> Tree:
    family, backbone = name.split("_")
    size = {"decoder_channels": SMALL_DECODERS[name]} if small else {"pretrained": True}
    return component(f"zoo.{IMAGE_NETWORKS[family]}", backbone=BACKBONES[backbone], **size)


def _name(network: str) -> str:
    family, backbone = network.split("_")
    return f"{NAMES[family]}-{'MobileNetV2' if backbone == 'mob' else backbone.upper()}"


def _dataset(name: str) -> Tree:
    return component(f"datasets.{DATASETS[name]}", **({"frame_size": IDD_SIZE} if name == "idd" else {}))


def _sgd(rate: float, decay: float, **schedule: float) -> Tree:
    optimizer = {"lr": rate, "momentum": 0.9, "weight_decay": decay}
    return {
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": optimizer},
        "lr_scheduler": component("lightning_modules.PolyLR", power=0.9, **schedule),
    }


def _adamw() -> Tree:
    return {
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3, "weight_decay": 1e-2}},
        "lr_scheduler": component("lightning_modules.PolyLR", power=0.9),
    }


def component(path: str, **settings: Any) -> Tree:
    """A class of this package, named below it, and its arguments."""
    return {"class_path": f"thriftseg.{path}"} | ({"init_args": settings} if settings else {})
