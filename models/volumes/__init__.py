"""Volumes (CT, MR): files with a place in the world, cut into slices and put together again."""

from models.volumes.files import is_volume, open_volume, read_labels
from models.volumes.grid import Grid, Volume, Voxels
from models.volumes.slices import Order, SlicePlane, slice_order
from models.volumes.window import Window, choose_window

__all__ = [
    "Grid",
    "Order",
    "SlicePlane",
    "Volume",
    "Voxels",
    "Window",
    "choose_window",
    "is_volume",
    "open_volume",
    "read_labels",
    "slice_order",
]
