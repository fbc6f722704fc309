"""Backbones, heads and the network that joins them. Options of them import without timm and torchvision."""
