"""Foundation models of Hugging Face `transformers`, from a folder or the hub, checked entry by entry."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from thriftseg.errors import CheckpointError, ConfigError, ThriftsegError
from thriftseg.parsing import decode_yaml, read_text

INSTALL = "pip install thriftseg[hf]"

_USUAL = {"sam3": "SAM License"}
"""Licence of the weights of a model type whose README states none."""

_FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json")


def load_pretrained(
    weights: str | Path | None,
    classes: Mapping[str, str],
    what: str,
    known: str,
    adapt: Callable[[Any], None] | None = None,
) -> Any:
    """Load a network of `transformers`.

    Args:
        weights: Folder that `save_pretrained` wrote, or an id of the Hugging Face hub.
        classes: Name of the network's class in `transformers` by the model type that its configuration states.
        what: The network, for messages.
        known: Ids of the hub that are told where no weights are given.
        adapt: Changes the configuration before the network is built.

    Returns:
        The network, in evaluation mode, without gradients, on the CPU.

    Raises:
        ConfigError: The extra `hf` is not installed, or no weights are given.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another network.

    Example:
        >>> try:
        ...     load_pretrained(None, {"sam2": "Sam2Model"}, "the prompter", known="facebook/sam2.1-hiera-tiny")
        ... except ConfigError as error:
        ...     print(error.problem, "->", error.fix)
        the prompter has no weights -> pass facebook/sam2.1-hiera-tiny
    """
    if weights is None:
        expected = "a folder or an id of the Hugging Face hub"
        raise ConfigError(f"{what} has no weights", expected=expected, fix=f"pass {known}")
    transformers = import_transformers()
    check_exists(weights)
    with reading_weights(weights, what):
        config = transformers.AutoConfig.from_pretrained(weights, trust_remote_code=False)
        model_type = config.model_type
        if model_type not in classes:
            raise CheckpointError(f"no weights of {what}", path=weights, found=f"those of {model_type}")
        if adapt is not None:
            adapt(config)
        with quiet_transformers(transformers.utils.logging):
            network, report = getattr(transformers, classes[model_type]).from_pretrained(
                weights, output_loading_info=True, **({} if adapt is None else {"config": config})
            )
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"], *map(str, report["mismatched_keys"])})
    if wrong:
        raise CheckpointError(
            f"no weights of {what}",
            path=weights,
            found=f"{len(wrong)} entries that are missing, unknown or of another size, such as {wrong[0]}",
        )
    return network.eval().requires_grad_(False)


def check_exists(weights: str | Path) -> None:
    """Refuse a path that is not there, before the hub is asked for it, which takes its time.

    Raises:
        CheckpointError: It looks like a path and there is no such folder.
    """
    name = str(weights)
    # An id of the hub is OWNER/NAME or a bare name, which may have dots, such as sam2.1-hiera-tiny.
    is_path = isinstance(weights, Path) or os.sep in name.replace("/", "", 1) or name.startswith((".", "/", "~"))
    is_path = is_path or Path(name).suffix in _FILES
    if is_path and not Path(name).exists():
        raise CheckpointError("no such folder", path=weights, expected="a folder or an id of the Hugging Face hub")


def load_part(weights: str | Path, name: str, what: str) -> Any:
    """Load what belongs to a network of `transformers`, such as its image processor.

    Args:
        weights: As `load_pretrained` has taken them.
        name: Name of its class in `transformers`.
        what: The network, for messages.

    Raises:
        CheckpointError: It is missing, damaged, or cannot be fetched.

    Example:
        >>> import tempfile
        >>> try:
        ...     with tempfile.TemporaryDirectory() as folder:
        ...         load_part(folder, "AutoImageProcessor", "the prompter")
        ... except CheckpointError as error:
        ...     print(error.problem)
        the weights of the prompter cannot be read
    """
    transformers = import_transformers()
    with reading_weights(weights, what), quiet_transformers(transformers.utils.logging):
        return getattr(transformers, name).from_pretrained(weights, trust_remote_code=False)


def licence_of(weights: str | Path, model_type: str) -> str | None:
    """Name of the licence of weights, as the front matter of their README.md states it.

    Args:
        weights: As `load_pretrained` has taken them.
        model_type: Type of the model, as its configuration states it.

    Returns:
        The name; of SAM 3 "SAM License" where nothing is stated; `None` where nothing is known.

    Raises:
        CheckpointError: The front matter is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "README.md").write_text(os.linesep.join(["---", "license: apache-2.0", "---"]))
        ...     licence_of(folder, "sam2_video")
        'apache-2.0'
    """
    path = _readme(weights)
    text = read_text(path, fault=CheckpointError) if path is not None else ""
    front = re.match(r"---[ \t\r]*\n(.*?)^---[ \t\r]*$", text, re.DOTALL | re.MULTILINE)
    named: list[str | None] = []
    if path is not None and front is not None and front[1].strip():
        fix = "mend the lines between --- and ---"
        stated = decode_yaml(front[1], _FrontMatter, path, fault=CheckpointError, fix=fix)
        licences = stated.license if isinstance(stated.license, list) else [stated.license]
        named = [stated.license_name if name == "other" else name for name in licences]
    return " and ".join(name for name in named if name) or _USUAL.get(model_type.split("_")[0])


class _FrontMatter(msgspec.Struct):
    license: str | list[str] | None = None
    license_name: str | None = None


def _readme(weights: str | Path) -> Path | None:
    """README.md of a folder or of a repository of the hub; `None` where there is none, or the hub is out of reach."""
    if Path(weights).is_dir():
        path = Path(weights) / "README.md"
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        kept = try_to_load_from_cache(str(weights), "README.md")
        return Path(kept if isinstance(kept, str) else hf_hub_download(str(weights), "README.md"))
    except Exception:  # hub, validation, network and file errors share no base class
        return None


@contextmanager
def reading_weights(weights: str | Path, what: str) -> Iterator[None]:
    """Turn whatever `transformers` raises while it reads a file into one line.

    Raises:
        CheckpointError: The files are missing, damaged, or cannot be fetched.
    """
    try:
        yield
    except ThriftsegError:
        raise
    except Exception as error:  # networks, proxies, disks and parsers fail in their own ways
        if _is_gated(error):
            raise CheckpointError(
                f"the hub hands out the weights of {what} only to those who accept their licence",
                path=weights,
                fix=f"accept it on https://huggingface.co/{weights}, then log in with `hf auth login`",
            ) from error
        found = str(error).splitlines()[0] if str(error) else repr(error)
        raise CheckpointError(
            f"the weights of {what} cannot be read", path=weights, found=found, fix="fetch them again"
        ) from error


def _is_gated(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is the hub's refusal of whoever has not accepted a licence."""
    from huggingface_hub.errors import GatedRepoError

    return error is not None and (isinstance(error, GatedRepoError) or _is_gated(error.__cause__ or error.__context__))


def import_transformers() -> Any:
    """The package.

    Raises:
        ConfigError: The extra `hf` is not installed.

    Example:
        >>> import_transformers().Sam2Config().model_type
        'sam2'
    """
    try:
        module = import_module("transformers")
        module.SamModel  # noqa: B018 - it is imported when it is named
    except ImportError as error:
        raise ConfigError("transformers is not installed", found=error, fix=INSTALL) from error
    return module


@contextmanager
def quiet_transformers(settings: Any) -> Iterator[None]:
    """Keep transformers from showing a bar and a report of the entries, which are checked here."""
    verbosity, bar = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity(settings.CRITICAL)
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if bar:
            settings.enable_progress_bar()
