"""ModelError is the base of everything this package raises on purpose.

ModelError
├── CheckpointError   weights are missing, damaged, or of another architecture
├── ProfileError      a profile is damaged or was fitted for another backbone
├── DatasetError      a data set folder is not what its layout promises
│   └── VolumeError   a file is no volume of finite voxels in three dimensions
├── EngineError       an engine cannot run here
├── LessonError       what a person teaches does not belong to the frame or the profile
└── StepError         a frame's prediction is not a number
"""


class ModelError(Exception):
    """Base class; the message is one line and names what was expected and what came."""


class CheckpointError(ModelError):
    """Weights are missing, damaged, or of another architecture."""


class ProfileError(ModelError):
    """A profile is damaged or was fitted for another backbone."""


class DatasetError(ModelError):
    """A data set folder is not what its layout promises."""


class VolumeError(DatasetError):
    """A file is no volume of finite voxels in three dimensions."""


class EngineError(ModelError):
    """An engine cannot run here."""


class LessonError(ModelError):
    """What a person teaches does not belong to the frame or the profile."""


class StepError(ModelError):
    """A frame's prediction is not a number, whatever was learnt from the frames before."""
