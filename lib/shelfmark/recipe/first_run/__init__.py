"""A first recipe for pictures that nobody has trained on: chosen by rules that can be read, each with its reason.

Facts (how many pictures, of how many classes, on what machine) -> the network -> a measured speed -> the training.
"""

from shelfmark.recipe.first_run.facts import Choice, Facts, Speed
from shelfmark.recipe.first_run.network import BACKBONES, choose_network
from shelfmark.recipe.first_run.training import COMMON, Plan, choose_training

__all__ = ["BACKBONES", "COMMON", "Choice", "Facts", "Plan", "Speed", "choose_network", "choose_training"]
