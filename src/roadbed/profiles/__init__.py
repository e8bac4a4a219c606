"""Step-time profiles: how long one iteration of an inference engine takes, per model and accelerator."""

from roadbed.profiles.model import Curve, StepModel, StepTimer
from roadbed.profiles.profile import Profile, Ranges, Variant, load, names, read, write

__all__ = ["Curve", "Profile", "Ranges", "StepModel", "StepTimer", "Variant", "load", "names", "read", "write"]
