"""A detector of torchvision for `shelfmark recognise --detector torchvision_detector:detect`.

    DETECTOR_WEIGHTS=detector.pt shelfmark recognise shelf.jpg --index index --detector torchvision_detector:detect

DETECTOR_WEIGHTS: a file of the detector's weights, as `torch.save(model.state_dict(), "detector.pt")` writes it.
DETECTOR: its architecture, a Faster or Mask R-CNN of torchvision.models.detection (default:
fasterrcnn_mobilenet_v3_large_fpn). The number of classes is that of the weights: of a detector of packs on shelves
two, background and pack.
"""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import torch
from torchvision.models import detection


def detect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) x, y, width, height in pixels, and scores (n,). image: (H, W, 3) uint8 RGB."""
    model, device = _model()
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        found = model([pixels])[0]
    corners = found["boxes"].cpu().numpy()
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return boxes, found["scores"].cpu().numpy()


@cache
def _model() -> tuple[torch.nn.Module, torch.device]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = torch.load(os.environ["DETECTOR_WEIGHTS"], map_location=device, weights_only=True)
    num_classes = len(weights["roi_heads.box_predictor.cls_score.bias"])
    build = getattr(detection, os.environ.get("DETECTOR", "fasterrcnn_mobilenet_v3_large_fpn"))
    model = build(weights=None, weights_backbone=None, num_classes=num_classes)
    model.load_state_dict(weights)
    return model.to(device).eval(), device
