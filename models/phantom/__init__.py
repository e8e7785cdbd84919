"""A procedural laparoscope: frames with exact masks, a strict function of a seed."""

from models.phantom.camera import Shift
from models.phantom.looks import CLASSES
from models.phantom.scene import (
    Clip,
    Instance,
    PhantomFrame,
    Procedure,
    Tray,
    random_tray,
    tissue_lit_tray,
)

DEMO_SEED = 16  # the procedure of the demo, and of the embedded profile `phantom` (other clips)

__all__ = [
    "CLASSES",
    "DEMO_SEED",
    "Clip",
    "Instance",
    "PhantomFrame",
    "Procedure",
    "Shift",
    "Tray",
    "random_tray",
    "tissue_lit_tray",
]
