"""A procedural laparoscope: frames with exact masks, a strict function of a seed."""

from models.phantom.camera import Shift
from models.phantom.instruments import CLASSES
from models.phantom.scene import Clip, Instance, PhantomFrame, Procedure

__all__ = ["CLASSES", "Clip", "Instance", "PhantomFrame", "Procedure", "Shift"]
