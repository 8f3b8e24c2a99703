"""Options that choose a network and how it segments a frame, shared by the commands that run one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from thriftseg.inference import LoadedNetwork
    from thriftseg.taxonomies import Taxonomy
    from thriftseg.zoo import SlidingWindow, WholeImage


def add_inference_arguments(parser: ArgumentParser) -> None:
    """Declare `--weights`, `--inference`, `--crop`, `--stride` and `--resize`."""
    parser.add_argument(
        "--weights",
        required=True,
        metavar="NAME|PATH|hf:ORG/NAME",
        help="published weights (`thriftseg zoo list`), or a checkpoint written by `thriftseg fit`",
    )
    parser.add_argument("--inference", choices=["whole", "sliding"], help="as in training's evaluation if unset")
    parser.add_argument("--crop", type=int, nargs=2, metavar=("H", "W"), help="window of sliding inference")
    parser.add_argument("--stride", type=int, nargs=2, metavar=("H", "W"), help="step between windows")
    parser.add_argument(
        "--resize", type=int, nargs=2, metavar=("H", "W"), help="size to work at; as in training's evaluation if unset"
    )


def inference_of(args: Namespace) -> WholeImage | SlidingWindow | None:
    """The inference that the options name; `None` where they leave it to the weights.

    Raises:
        ConfigError: The options contradict each other.
    """
    from thriftseg.zoo import SlidingWindow, WholeImage

    if args.inference != "sliding":
        if args.crop or args.stride:
            raise ConfigError("--crop and --stride belong to sliding inference", fix="add --inference sliding")
        return WholeImage() if args.inference else None
    if not args.crop:
        raise ConfigError("sliding inference needs a window", fix="add --crop H W, such as the training crop")
    return SlidingWindow(tuple(args.crop), tuple(args.stride) if args.stride else None)


def load_for(taxonomy: Taxonomy, weights: str) -> LoadedNetwork:
    """Load a network that knows the classes of the data.

    Args:
        taxonomy: Class table of the data; where the weights do not know the names of their classes, their number has
            to be that of the table.
        weights: What the user calls the weights.

    Raises:
        CheckpointError: There are no such weights, or they hold no semantic network.
        ConfigError: The network was trained on other classes.
    """
    from thriftseg.inference import load_weights

    loaded = load_weights(weights)
    names = tuple(taxonomy.class_names)
    if loaded.class_names and loaded.class_names != names:
        expected, found = ", ".join(names), ", ".join(loaded.class_names)
    elif loaded.network.num_classes != len(names):
        expected, found = f"{len(names)} classes", str(loaded.network.num_classes)
    else:
        return loaded
    raise ConfigError("the network was trained on other classes", path=weights, expected=expected, found=found)
