"""Optimizers, their parameter groups and the learning rate."""

from shelfmark.optim.groups import parameter_groups
from shelfmark.optim.optimizers import build_optimizer
from shelfmark.optim.options import OptimOptions, ScheduleOptions
from shelfmark.optim.schedules import LearningRate, StagedRate

__all__ = ["LearningRate", "OptimOptions", "ScheduleOptions", "StagedRate", "build_optimizer", "parameter_groups"]
