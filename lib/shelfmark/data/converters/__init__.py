"""Data sets as they are published, or as a user has them, to Shelfmark's annotation format."""

from shelfmark.data.converters.aliproducts import prepare_aliproducts
from shelfmark.data.converters.cars196 import prepare_cars196
from shelfmark.data.converters.cifar_lt import prepare_cifar_lt
from shelfmark.data.converters.cub import prepare_cub
from shelfmark.data.converters.folder import prepare_folder
from shelfmark.data.converters.grocery import prepare_grocery
from shelfmark.data.converters.inaturalist import prepare_inaturalist
from shelfmark.data.converters.inshop import prepare_inshop
from shelfmark.data.converters.prepared import Prepared
from shelfmark.data.converters.products10k import prepare_products10k
from shelfmark.data.converters.pss import prepare_pss
from shelfmark.data.converters.pss_pickles import prepare_pss_clusters, prepare_pss_features
from shelfmark.data.converters.sop import prepare_sop
from shelfmark.data.converters.vehicleid import prepare_vehicleid

__all__ = [
    "Prepared",
    "prepare_aliproducts",
    "prepare_cars196",
    "prepare_cifar_lt",
    "prepare_cub",
    "prepare_folder",
    "prepare_grocery",
    "prepare_inaturalist",
    "prepare_inshop",
    "prepare_products10k",
    "prepare_pss",
    "prepare_pss_clusters",
    "prepare_pss_features",
    "prepare_sop",
    "prepare_vehicleid",
]
