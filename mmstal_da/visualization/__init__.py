"""Pictures of boxes, tubes and training curves.

=====================  ======================================================
``overlays``           selects the boxes to show on each frame
``detections_file``    detections with the names of their indices
``drawing``            boxes, labels and bars on an image
``render``             frames of a video with ground truth and predictions
``contact_sheet``      many small pictures on one page
``domain_figure``      source and target side by side
``comparison_figure``  the same frames once per run
``comparison_page``    the videos where two runs differ most, as one HTML file
``scalars``            reads the scalars of a run
``curves``             training curves of one or several runs
``writing``            MP4, GIF and PNG
``error_plot``         the errors that cost the detector frame-AP
``confusion_plot``     which class the detector sees where
``recall_plot``        precision-recall curves
=====================  ======================================================
"""

from .contact_sheet import contact_sheet
from .detections_file import NamedDetections, read_detections
from .drawing import draw_overlays, scale_box
from .overlays import Overlay, detection_overlays, ground_truth_overlays, tube_overlays
from .render import render_frames, render_video
from .writing import WRITERS, write_gif, write_mp4, write_png

__all__ = [
    'WRITERS',
    'NamedDetections',
    'Overlay',
    'contact_sheet',
    'detection_overlays',
    'draw_overlays',
    'ground_truth_overlays',
    'read_detections',
    'render_frames',
    'render_video',
    'scale_box',
    'tube_overlays',
    'write_gif',
    'write_mp4',
    'write_png',
]
