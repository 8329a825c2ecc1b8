"""Use of trained detectors: what a checkpoint finds in videos.

=================  ====================================================
``inferencer``     ``ActionTubeInferencer``: detections and tubes
``inputs``         files, folders, globs, arrays, streams -> videos
``clips``          clips around key frames of frames as they arrive
``result``         what was found in a video, and its files
``loading``        the detector of a checkpoint
``onnx_export``    ``export_onnx``: a checkpoint -> an ONNX file
``onnx_graph``     the prediction, with ONNX's own operators
``onnx_metadata``  class names and preprocessing in the file
``onnx_detector``  runs the file in place of the checkpoint
``propose``        the RPN's proposals, for detectors without an RPN
=================  ====================================================
"""

from .inferencer import ActionTubeInferencer
from .onnx_export import export_onnx
from .result import VideoResult

__all__ = ['ActionTubeInferencer', 'VideoResult', 'export_onnx']
