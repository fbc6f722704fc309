"""The shop: a generated catalogue of packed goods with a long tail, the data that is always at hand.

Frozen: figures were measured on these very pictures. `tests/shop/test_shop.py` holds the hashes.
"""

from shelfmark.shop.catalogue import NUM_CLASSES, NUM_NOVEL, Catalogue, Family, Sku, catalogue, class_counts
from shelfmark.shop.pictures import picture
from shelfmark.shop.splits import SPLITS, split_labels
from shelfmark.shop.writing import ANNOTATION_SHA256, generate_shop, is_complete, shop_files

__all__ = [
    "ANNOTATION_SHA256",
    "NUM_CLASSES",
    "NUM_NOVEL",
    "SPLITS",
    "Catalogue",
    "Family",
    "Sku",
    "catalogue",
    "class_counts",
    "generate_shop",
    "is_complete",
    "picture",
    "shop_files",
    "split_labels",
]
