"""Transforms of clips and their boxes, for use together with MMAction2's."""

from .augment import AugmentClip
from .clip import DecodeFrames, SampleKeyFrameClip
from .degrade import DegradeFrames
from .filter_boxes import FilterBoxes
from .formatting import PackTubeInputs
from .weak_view import KeepWeakView

__all__ = [
    'AugmentClip',
    'DecodeFrames',
    'DegradeFrames',
    'FilterBoxes',
    'KeepWeakView',
    'PackTubeInputs',
    'SampleKeyFrameClip',
]
