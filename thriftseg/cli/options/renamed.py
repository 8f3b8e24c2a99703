"""Options that have another name now: the old one is refused with the new one."""

from __future__ import annotations

from collections.abc import Iterable

from thriftseg.errors import ConfigError

RENAMED: dict[str, dict[str, str]] = {
    "annotate eva-vos": {"device": "accelerator"},
    "annotate collect": {"device": "accelerator"},
    "annotate next": {"device": "accelerator"},
    "evaluate": {"workers": "devices"},
    "predict": {"device": "accelerator"},
    "data check": {"jobs": "devices"},
    "data synthesize": {"jobs": "devices"},
    "label clicks": {"workers": "devices", "import_file": "path", "import_maps": "path"},
    "label coarse": {"workers": "devices"},
    "label inspect": {"workers": "devices"},
    "label propagate": {"workers": "devices N --accelerator cpu"},
    "label refine": {"overwrite": "beyond"},
}
"""Per command, what is written now in place of an old option; `docs/reference/options.md` lists them."""

_OF_OBJECTIVES = (
    "gated_crf memory_flow distillation weak_weight gated_crf_weight gated_crf_start memory_flow_weight flow stride "
    "distillation_weight memory_flow_stride full_weight sub_path_weight sub_path_label_weight auxiliary_weight"
)
_OF_EVALUATION = "boundary_width boundary_ratio inference"
MODEL_SETTINGS = {
    "loss": "objective",
    **{name: f"objective.{name}" for name in _OF_OBJECTIVES.split()},
    **{name: f"evaluation.{name}" for name in _OF_EVALUATION.split()},
}
"""Former settings of the model of `fit`, `validate` and `test`, where it trains a semantic network."""


def refuse_old_names(command: str, words: Iterable[str]) -> None:
    """Refuse the old name of an option.

    Args:
        command: The command.
        words: Its arguments, or the keys of its config as options.

    Raises:
        ConfigError: One of them is the old name of an option.
    """
    known = RENAMED.get(command, {})
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and option[2:] in known:
            raise ConfigError(f"thriftseg {command} has no {option} any more", fix=f"write --{known[option[2:]]}")
