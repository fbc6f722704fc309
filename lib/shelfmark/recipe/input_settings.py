"""The input that the weights of a run were trained with: mean, std, interpolation and crop.

Parsing a config asks no library for these numbers. They are looked up once, when a run starts; from then on the recipe,
the checkpoint and every derived file have numbers, whatever a later version of timm says of the same weights.
"""

from __future__ import annotations

from shelfmark.config.load import Loaded
from shelfmark.config.write import inline
from shelfmark.core.errors import UserError
from shelfmark.data.options import BY_WEIGHTS, DataOptions, InputSettings
from shelfmark.engine.checkpoint import Checkpoint
from shelfmark.models.options import PRETRAINED
from shelfmark.models.published import published_settings
from shelfmark.recipe.of_checkpoint import put_input, recipe_of, with_its_input
from shelfmark.recipe.tree import Recipe


def settled(loaded: Loaded[Recipe], checkpoint: Checkpoint | None = None) -> Loaded[Recipe]:
    """The recipe with a number in the place of each option of `data` that says `backbone`.

    The numbers are those of the checkpoint, if the run begins from one, else those of the backbone's published weights.
    Where timm knows none of a backbone, an option that nobody set has its ordinary default. UserError: such a backbone,
    and an option that was set to `backbone`; there is no such backbone.
    """
    if checkpoint is not None:
        return with_its_input(loaded, checkpoint)
    names = loaded.config.data.by_weights
    if not names:
        return loaded
    backbone = loaded.config.model.backbone
    found = published_settings(backbone)
    if found is None:
        _require_unset(loaded, names)
        return put_input(loaded, {name: DataOptions.model_fields[name].default for name in names}, "")
    values, weights = found
    return put_input(loaded, {name: values[name] for name in names}, f"timm's value for the weights of {weights}")


def disagreement(recipe: Recipe, checkpoint: Checkpoint | None = None) -> str:
    """A line on the options that differ from the input with which the first weights were trained; '' if none does.

    checkpoint: that the run begins from. Without one, only published weights are known to have an input.
    """
    own = recipe.data.input_settings
    if checkpoint is not None:
        trained, weights = recipe_of(checkpoint).data.input_settings._asdict(), f"the weights of {checkpoint.folder}"
    else:
        found = published_settings(recipe.model.backbone) if recipe.model.weights == PRETRAINED else None
        if found is None:
            return ""
        trained, weights = found[0], f"the weights of {found[1]}"
    # Where the resize is given in pixels, eval_crop is not used.
    names = [name for name in InputSettings._fields if name != "eval_crop" or recipe.data.eval_resize_px is None]
    different = [
        f"data.{name}={inline(getattr(own, name))} (theirs: {inline(trained[name])})"
        for name in names
        if getattr(own, name) != trained[name]
    ]
    if not different:
        return ""
    return f"{weights} were trained with another input than this run has: {', '.join(different)}."


def _require_unset(loaded: Loaded[Recipe], names: tuple[str, ...]) -> None:
    for name in names:
        if f"data.{name}" in loaded.origins:
            raise UserError(
                f"data.{name}={BY_WEIGHTS}: timm knows no published weights of"
                f" model.backbone={loaded.config.model.backbone}, so it cannot say with which input they were trained;"
                " write the value itself."
            )
