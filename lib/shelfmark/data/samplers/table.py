"""The table of all samplers: options, errors and docs read their names here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shelfmark.data.samplers.class_aware import ClassAwareOrder
from shelfmark.data.samplers.class_weighted import class_balanced, power_weighted, progressive, reverse
from shelfmark.data.samplers.instance import InstanceOrder
from shelfmark.data.samplers.keyed import KeyedOrder
from shelfmark.data.samplers.order import EpochOrder
from shelfmark.data.samplers.pk import PKOrder
from shelfmark.data.samplers.plan import EpochPlan
from shelfmark.data.samplers.weighted import WeightedOrder

SAMPLERS: Mapping[str, Callable[[EpochPlan], EpochOrder]] = {
    "instance": InstanceOrder,
    "class_balanced": class_balanced,
    "power": power_weighted,
    "progressive": progressive,
    "reverse": reverse,
    "class_aware": ClassAwareOrder,
    "pk": PKOrder,
    "weighted": WeightedOrder,
    "keyed": KeyedOrder,
}
