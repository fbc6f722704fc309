"""`shelfmark doctor`: what is wrong with the pictures and labels of a recipe."""

from shelfmark.pipelines.doctor.flow import doctor

__all__ = ["doctor"]
