"""A small instance of everything that a command reads or writes, and a small invocation of every command."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from tests.fixtures.square_and_disc import write_video
from tests.labels.small_hf import write_concepts
from thriftseg.cli.main import main
from thriftseg.datasets import Cityscapes
from thriftseg.stores import AnnotationJournal, JournalRow
from thriftseg.synthetic import synthesize, synthesize_objects

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
FIT = """
trainer: {max_epochs: 1, limit_train_batches: 1, limit_val_batches: 1, num_sanity_val_steps: 0, accelerator: cpu,
  enable_progress_bar: false, enable_model_summary: false, log_every_n_steps: 1}
model:
  class_path: thriftseg.lightning_modules.SemanticSegmentation
  init_args:
    network:
      class_path: thriftseg.zoo.DeepLabV3Plus
      init_args: {backbone: mobilenet_v2, decoder_channels: 8}
data:
  class_path: thriftseg.datamodules.SemanticDataModule
  init_args:
    dataset: {class_path: thriftseg.datasets.Cityscapes, init_args: {root: ROOT}}
    crop: [32, 64]
    scale: [1.0, 1.0]
    batch_size: 2
    num_workers: 0
"""
QUICKSTART = """
train_clips: 3
val_clips: 1
frames: 6
height: 48
width: 96
flow_offsets: [-1, 1]
click_min_component: 20
network: deeplabv3plus_mobilenetv2
network_options: {decoder_channels: 8}
crop: [48, 64]
scale: [1.0, 1.0]
batch_size: 2
epochs: 1
learning_rate: 1.0e-3
warmup_steps: 1
weight_decay: 0.01
demo_frames: 2
students: [{key: manual, name: manual, pattern: N1}]
"""


@dataclass(frozen=True)
class Invocation:
    """A valid small invocation of a command.

    Attributes:
        words: Its arguments after the command; `{name}` stands for a file or folder of the world, `{out}` for what it
            writes.
        writes: What it writes, a path below the current folder.
        locks: The folder of which it is the sole writer; none where several may write on purpose or it is a file.
        beside: What else has to be said so that a path option is read, by option.
        slow: It takes seconds.
    """

    words: str
    writes: str | None = None
    locks: str | None = None
    beside: dict[str, str] = field(default_factory=dict)
    slow: bool = False


_CLASSES = "--dataset cityscapes --root {cityscapes}"
_OBJECTS = "--dataset davis --root {davis} --split val"
_STORE = f"{_CLASSES} --store store"
_HVSA = (
    "--dataset folder --root {squares} --network deeplabv3plus_mobilenetv2 --rounds 1 --epochs 1 --accelerator cpu"
    " --network_options='{{\"decoder_channels\":8}}'"
)
_SUPERPIXELS = {"superpixel_weights": "--granularity sp"}
_TUNED = {
    **_SUPERPIXELS,
    "weights": "--network null --network_options {}",
    "flow_weights": "--consistency 1 --flow raft",
}
_MASKS = {
    "propagator_weights": "--propagator stm",
    "prompter_weights": "--prompter sam",
    "qnet_weights": "--frame qnet",
    "policy_weights": "--type agent",
}
INVOCATIONS = {
    "quickstart": Invocation("--config {quickstart} --out out --progress false", "out", "out", slow=True),
    "fit": Invocation("--config {fit} --name run", "runs/run", "runs/run", slow=True),
    "validate": Invocation("--config {fit} --name run --ckpt_path {checkpoint}", "runs/run", slow=True),
    "test": Invocation(
        "--config {fit} --name run --ckpt_path {checkpoint} --data.test_split val", "runs/run", slow=True
    ),
    "sweep": Invocation("--table samsam2_camvid --rows camvid_small_r18_n1 --dry_run"),
    "predict": Invocation("--weights {checkpoint} --input {video} --out out --accelerator cpu", "out", "out"),
    "evaluate": Invocation(
        "--pred {predicted} --gt {cityscapes}/gtFine/val --layout cityscapes --split val --out out"
        " --resamples 2 --pred_ids label",
        "out",
        beside={
            "flow_weights": "--metrics tc --flow raft",
            "classes": "--layout folder",
        },
    ),
    "report table": Invocation("samsam2_t4 --runs {runs} --out out", "out", slow=True),
    "report list": Invocation("samsam2_camvid"),
    "report annotation": Invocation("{hvsa} --out out.png", "out.png", slow=True),
    "report curve": Invocation("--runs a={eva_vos} --out out.png", "out.png"),
    "report cost": Invocation("--runs a={pilot} --out out.png", "out.png"),
    "plan": Invocation("--pilot a={pilot} --budget 8 --out out.png", "out.png"),
    "annotate hvsa": Invocation(
        f"{_HVSA} --budget 1 --unit samples --out out",
        "out",
        "out",
        slow=True,
        beside={**_TUNED, "work": "--annotator files"},
    ),
    "annotate eva-vos": Invocation(
        f"{_OBJECTS} --rounds 1 --out out", "out", "out", beside={**_MASKS, "work": "--annotator files"}
    ),
    "annotate collect": Invocation(f"{_OBJECTS} --rounds 2 --random_rounds 1 --out out", "out", "out", beside=_MASKS),
    "annotate split": Invocation(f"{_OBJECTS.replace('val', 'train')} --least 1 --most 9 --out out.yaml", "out.yaml"),
    "annotate find-budget": Invocation(
        f"{_HVSA} --target_miou 0.01 --max_budget 10 --out out",
        "out",
        "out",
        slow=True,
        beside=_TUNED,
    ),
    "annotate next": Invocation(
        f"{_CLASSES} --count 1 --out out",
        "out",
        beside=_SUPERPIXELS,
    ),
    "label boxes": Invocation(
        f"{_OBJECTS} --store store --from_masks --source made --devices 1 --accelerator cpu",
        "store/made",
        "store/made",
        beside={"weights": "--method box2seg", "bad_list": "--filter list"},
    ),
    "label clicks": Invocation(f"{_STORE} --source made", "store/made", "store/made"),
    "label propagate": Invocation(
        f"{_STORE} --source made --offsets=-1..1 --devices 1 --accelerator cpu",
        "store/made",
        "store/made",
        beside={"weights": "--method stm", "flow_weights": "--flow raft"},
    ),
    "label refine": Invocation(
        f"{_STORE} --source made --devices 1 --accelerator cpu",
        "store/made",
        "store/made",
        beside={"weights": "--method sam"},
    ),
    "label export": Invocation(f"{_STORE} --source flow --format coco --out out", "out", "out"),
    "label import": Invocation(f"{_STORE} --path {{export}} --format coco --source made", "store/made", "store/made"),
    "label coarse": Invocation(f"{_STORE} --source made --devices 1 --accelerator cpu", "store/made", "store/made"),
    "label fill": Invocation(
        f"{_STORE} --source flow --out_source made --weights {{checkpoint}} --devices 1 --accelerator cpu",
        "store/made",
        "store/made",
    ),
    "label text": Invocation(
        f"{_STORE} --source made --weights {{sam3}} --classes {{concepts}} --devices 1 --accelerator cpu",
        "store/made",
        "store/made",
    ),
    "label inspect": Invocation(f"{_STORE} --source flow --sheet out.png", "out.png"),
    "label sync": Invocation(f"cvat {_STORE} --url http://127.0.0.1:9 --task 1"),  # where nobody listens
    "label review": Invocation(
        f"{_STORE} --source flow --decisions out.csv --devices 1 --accelerator cpu",
        "out.csv",
    ),
    "zoo list": Invocation("--folder {published}"),
    "zoo publish": Invocation("{checkpoint} --name deeplabv3plus_mobilenetv2.tiny --out out", "out", "out"),
    "zoo import": Invocation(
        "{authors} --arch annotation_policy_resnet18 --out out.safetensors", "out.safetensors", slow=True
    ),
    "zoo export": Invocation("{checkpoint} --out out.onnx --size 32 32", "out.onnx", slow=True),
    "zoo profile": Invocation("{checkpoint} --size 32 32 --accelerator cpu --warm_up 1 --frames 1"),
    "annotate serve": Invocation(f"{_STORE} --port 0"),
    "report time": Invocation(f"{_STORE} --source flow --out out.md", "out.md"),
    "data check": Invocation(_CLASSES),
    "data synthesize": Invocation(
        "--out out --train_clips 1 --val_clips 1 --frames 3 --height 32 --width 64 --devices 1", "out", "out"
    ),
    "data import": Invocation("{video} --out out --shares 1,0,0 --every 0.2", "out", "out"),
    "data mixture": Invocation("--config {fit}"),
    "data shard": Invocation(f"{_STORE} --out out", "out", "out"),
    "data submit": Invocation(
        "--dataset davis --root {davis} --split val --predictions {masks} --out out.zip", "out.zip"
    ),
}


def write_world(folder: Path) -> dict[str, Path]:
    """Files and folders by the names that invocations give them."""
    names = ("cityscapes", "davis", "store", "runs", "published", "export", "hvsa", "eva_vos")
    world = {name: folder / name for name in names}
    size = {"height": 32, "width": 64, "frames": 4, "train_clips": 1, "val_clips": 1, "devices": 1}
    synthesize(world["cityscapes"], layout="cityscapes", test_clips=1, **size)
    synthesize_objects(world["davis"], layout="davis", **size | {"train_clips": 3})
    world["squares"] = write_video(folder / "squares").root
    world |= {name: folder / f"{name}.yaml" for name in ("fit", "quickstart")}
    world["concepts"], world["sam3"] = folder / "concepts.yaml", write_concepts(folder / "sam3")
    world["concepts"].write_text("classes: [road, {name: car, synonyms: [van]}]\n")
    world["fit"].write_text(FIT.replace("ROOT", str(world["cityscapes"])))
    world["quickstart"].write_text(QUICKSTART)
    world["pilot"] = folder / "pilot.json"
    runs = [{"name": "clicks", "hours": h, "miou": 0.5 - 0.2 / h} for h in (1, 2, 3, 4)]
    world["pilot"].write_text(json.dumps({"students": runs}))
    world["masks"] = world["davis"] / "Annotations" / "480p"
    world["predicted"] = shutil.copytree(world["cityscapes"] / "gtFine" / "val", folder / "predicted")
    for path in world["predicted"].rglob("*labelIds.png"):
        Image.fromarray(np.full((32, 64), 7, np.uint8)).save(path)
    world["video"] = folder / "video.mp4"
    writer = cv2.VideoWriter(str(world["video"]), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 32))
    for number in range(6):
        writer.write(np.full((32, 64, 3), 30 * number, np.uint8))
    writer.release()
    world["checkpoint"], world["authors"] = _write_checkpoints(folder)
    for words in (
        "label propagate --dataset cityscapes --root {cityscapes} --store {store} --offsets=-1..1 --source flow"
        " --devices 1 --accelerator cpu",
        "label clicks --dataset cityscapes --root {cityscapes} --store {store}",
        "label export --dataset cityscapes --root {cityscapes} --store {store} --source flow --format coco"
        " --out {export}",
        "annotate eva-vos --dataset davis --root {davis} --split val --rounds 1 --out {eva_vos}",
        f"annotate hvsa {_HVSA} --budget 1 --unit samples --out {{hvsa}}",
        "zoo publish {checkpoint} --name deeplabv3plus_mobilenetv2.tiny --out {published}",
    ):
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(shlex.split(words.format(**world))) == 0
    clip = Cityscapes(world["cityscapes"]).clips("train")[0]
    place = {"session": "s1", "person": "Ann", "video": clip.video, "frame": min(clip.frames)}
    row = JournalRow("a1", "brush", 1.0, 3.0, 2.0, strokes=1, **place)
    AnnotationJournal(world["store"] / "flow").append([row])
    run = world["runs"] / "cityscapes_td2fanet_coarse50-seed0"
    run.mkdir(parents=True)
    training = {"steps": 40_000, "scored_step": 40_000, "seed": 0}
    metrics = {"val/miou": 0.7, "val/macc": 0.78, "cost/hours": 2404.1}
    content = {"command": "thriftseg fit", "network_sha256": None, "training": training, "metrics": metrics}
    (run / "fit.json").write_text(json.dumps(content))
    return world


def _write_checkpoints(folder: Path) -> tuple[Path, Path]:
    """Of training, and as the authors of a network leave it."""
    from lightning.pytorch import Trainer

    from tests.golden.fill import fill
    from thriftseg.lightning_modules import SemanticSegmentation
    from thriftseg.taxonomies import CITYSCAPES
    from thriftseg.zoo import create_model

    torch.manual_seed(0)
    network = create_model("deeplabv3plus_mobilenetv2", CITYSCAPES.num_classes, decoder_channels=8)
    module = SemanticSegmentation(network, class_names=CITYSCAPES.class_names)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(module)
    trained, authors = folder / "tiny.ckpt", folder / "authors.pth"
    trainer.save_checkpoint(trained)
    content = torch.load(trained, weights_only=True)
    content["thriftseg"]["taxonomy"] = CITYSCAPES.name  # comes from the data module of a true run
    torch.save(content, trained)
    golden = json.loads((GOLDEN / "actor_critic_resnet18_a3.json").read_text())
    torch.save({"network": fill(golden["keys"], golden["kinds"], golden["fill"])}, authors)
    return trained, authors
