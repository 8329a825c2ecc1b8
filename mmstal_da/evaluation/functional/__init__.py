"""The evaluator as functions on NumPy arrays; needs no runner and loads no torch."""

from .ap import average_precision, mean_over_classes, precision_recall
from .confusion import confusion_matrix
from .curves import precision_recall_curves
from .detections import Detections, parse_detections
from .error_analysis import analyse_errors
from .evaluate import evaluate_detections, evaluate_frames, tubes_of
from .ground_truth import GroundTruth, parse_ground_truth
from .iou import box_iou, paired_iou
from .linking import build_tubes, link_boxes
from .matching import best_match, greedy_match
from .nms import nms, suppression_weights
from .protocol import PROTOCOLS, Protocol, get_protocol
from .trimming import trim_tubes, viterbi_labels
from .tubes import TubeSet, temporal_iou, tube_iou

__all__ = [
    'PROTOCOLS',
    'Detections',
    'GroundTruth',
    'Protocol',
    'TubeSet',
    'analyse_errors',
    'average_precision',
    'best_match',
    'box_iou',
    'build_tubes',
    'confusion_matrix',
    'evaluate_detections',
    'evaluate_frames',
    'get_protocol',
    'greedy_match',
    'link_boxes',
    'mean_over_classes',
    'nms',
    'paired_iou',
    'parse_detections',
    'parse_ground_truth',
    'precision_recall',
    'precision_recall_curves',
    'suppression_weights',
    'temporal_iou',
    'trim_tubes',
    'tube_iou',
    'tubes_of',
    'viterbi_labels',
]
