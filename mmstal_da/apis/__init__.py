"""Use of trained detectors: what a checkpoint finds in videos.

==============  ====================================================
``inferencer``  ``ActionTubeInferencer``: detections and tubes
``inputs``      files, folders, globs, arrays, streams -> videos
``clips``       clips around key frames of frames as they arrive
``result``      what was found in a video, and its files
``propose``     the RPN's proposals, for detectors without an RPN
==============  ====================================================
"""

from .inferencer import ActionTubeInferencer
from .result import VideoResult

__all__ = ['ActionTubeInferencer', 'VideoResult']
