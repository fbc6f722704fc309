"""Low-rank adapters in a backbone's linear layers, through the extra `peft`."""

from __future__ import annotations

from typing import Any

from torch import nn

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.core.seeding import seeded
from shelfmark.models.options import AdapterOptions


def add_adapters(backbone: nn.Module, options: AdapterOptions, seed: int) -> nn.Module:
    """The backbone with adapters beside its linear layers; they alone learn. A rank of 0 leaves it as it is.

    A layer's output becomes W x + alpha / rank * B A x, with B zero at first.
    Raises UserError without peft, and where no layer is called so.
    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
    """
    if not options.rank:
        return backbone
    peft, modules = _peft(), list(options.modules)
    config = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, target_modules=modules, lora_dropout=0.0, bias="none"
    )
    with seeded(derive_seed(seed, "model.adapters")):
        try:
            return peft.inject_adapter_in_model(config, backbone)
        except ValueError as error:
            linear = sorted(
                {name.rpartition(".")[2] for name, module in backbone.named_modules() if isinstance(module, nn.Linear)}
            )
            raise UserError(
                f"model.adapters.modules={modules}: peft cannot put adapters there ({error})."
                f" Linear layers of this backbone: {', '.join(linear) or 'none'}."
            ) from error


def merge_adapters(backbone: nn.Module) -> nn.Module:
    """Adds the adapters' products to the weights beside them, in place, and takes the adapters out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[tuple[str, Any]] = [
        (place, module) for place, module in backbone.named_modules() if isinstance(module, BaseTunerLayer)
    ]
    for place, layer in layers:
        layer.merge()
        parent, _, attribute = place.rpartition(".")
        setattr(backbone.get_submodule(parent), attribute, layer.get_base_layer())
    return backbone


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise UserError(
            f"model.adapters needs peft, which cannot be imported ({error}). Install it with"
            " pip install peft, or set model.adapters.rank=0 to train the backbone itself."
        ) from error
    return peft
