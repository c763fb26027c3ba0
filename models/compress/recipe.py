"""Replays what stages did to a net on a fresh one."""

import importlib
from collections.abc import Callable, Sequence

from torch import nn

from app.errors import SetupError
from models.compress.stage import Edit

FORMS = {  # form -> module and function (model, edit): makes the structure, with weights still to be loaded
    "tucker2": ("models.compress.factorised", "apply_tucker2"),
    "cp": ("models.compress.factorised", "apply_cp"),
    "pair": ("models.compress.factorised", "apply_pair"),
    "decomposed": ("models.compress.svd_training", "apply_decomposed"),
    "removed": ("models.compress.removal", "apply_removed"),
    "reduced": ("models.compress.ron", "apply_reduced"),
    "binary": ("models.compress.binary", "apply_binary"),
}


def replay(model: nn.Module, recipe: Sequence[Edit]) -> None:
    """Give a fresh net the structure that the edits left, in place.

    Raises:
        SetupError: a form is unknown.
    """
    for edit in recipe:
        if edit.form not in FORMS:
            raise SetupError(f"form {edit.form!r} of layer {edit.layer} is none of {', '.join(FORMS)}")
        module, function = FORMS[edit.form]
        apply: Callable[[nn.Module, Edit], None] = getattr(importlib.import_module(module), function)
        apply(model, edit)
