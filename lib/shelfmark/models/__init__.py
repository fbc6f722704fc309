"""Backbones, heads and the network that joins them."""

from shelfmark.models.backbones import build_backbone
from shelfmark.models.network import HeadOptions, Network, build_network
from shelfmark.models.weights import load_backbone_weights, load_matching

__all__ = ["HeadOptions", "Network", "build_backbone", "build_network", "load_backbone_weights", "load_matching"]
