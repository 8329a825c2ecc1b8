import numpy as np
import pytest

from mmstal_da.evaluation.functional import (
    Detections,
    evaluate_detections,
    get_protocol,
    parse_detections,
    parse_ground_truth,
    tubes_of,
)
from mmstal_da.tubes.annotation import Tube
from mmstal_da.visualization import (
    Overlay,
    detection_overlays,
    ground_truth_overlays,
    read_detections,
    tube_overlays,
)

CLASSES = ['push', 'pull']


def test_ground_truth_by_frame_and_renamed():
    tubes = [
        Tube('golf', np.array([2, 4]), np.array([[0, 1, 2, 3], [1, 1, 2, 3]], np.float32)),
        Tube('walk', np.array([4]), np.array([[5, 5, 9, 9]], np.float32)),
    ]
    overlays = ground_truth_overlays(tubes, {'golf': 'GolfSwing'})
    assert overlays == {
        2: [Overlay((0, 1, 2, 3), 'GolfSwing')],
        4: [Overlay((1, 1, 2, 3), 'GolfSwing'), Overlay((5, 5, 9, 9), 'walk')],
    }


def test_detections_are_thresholded_and_thinned_across_classes():
    dets = np.array(
        [
            # video, frame, label, score, box
            [0, 3, 0, 0.5, 0, 0, 9, 9],
            [0, 3, 1, 0.9, 0, 0, 9, 10],  # overlaps the first, and is better
            [0, 3, 0, 0.4, 50, 50, 60, 60],
            [0, 3, 0, 0.2, 80, 80, 90, 90],  # below the threshold
            [0, 7, 0, 0.6, 1, 1, 2, 2],
            [1, 3, 0, 0.99, 0, 0, 9, 9],  # another video
        ]
    )
    overlays = detection_overlays(dets, 0, CLASSES, score_thr=0.3)
    assert {frame: [(o.label, o.score) for o in items] for frame, items in overlays.items()} == {
        3: [('pull', 0.9), ('push', 0.4)],
        7: [('push', 0.6)],
    }
    assert overlays[3][0].box == (0, 0, 9, 10)
    assert len(detection_overlays(dets, 0, CLASSES, 0.3, nms_iou=1)[3]) == 3


def test_linked_tubes_bear_their_mean_score():
    rows = []
    for frame in range(20, 0, -1):
        box = [10 + frame, 10, 30 + frame, 40]
        rows.append([1, frame, 0, 0.8 if frame % 2 else 0.6, *box])
        rows.append([1, frame, 0, 0.5, 12 + frame, 10, 32 + frame, 40])  # suppressed
        rows.append([1, frame, 1, 0.4, *box])  # the same tube, of another class
        rows.append([0, frame, 1, 0.1, *box])
    rows.append([1, 5, 0, 0.9, 70, 10, 80, 40])  # no tube: one frame
    tubes = tubes_of(Detections.from_rows(rows))
    overlays = tube_overlays(tubes, 1, CLASSES, score_thr=0.3)
    assert sorted(overlays) == list(range(1, 21))
    for frame, [overlay] in overlays.items():
        assert overlay.label == 'push'
        assert overlay.score == pytest.approx(0.7)
        assert overlay.box == (10 + frame, 10, 30 + frame, 40)
    assert [o.label for o in tube_overlays(tubes, 1, CLASSES, 0.3, 1)[7]] == ['push', 'pull']
    assert tube_overlays(tubes, 0, CLASSES) == {}
    assert tube_overlays(tubes_of(Detections.from_rows(np.zeros((0, 8)))), 0, CLASSES) == {}


def test_linking_agrees_with_the_evaluation(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for frame in range(1, 31):
        for label in (0, 1):
            for centre in (40, 44, 120):
                box = np.array([centre - 15, 20, centre + 15, 70]) + rng.normal(0, 1.5, 4)
                rows.append([0, frame, label, rng.uniform(0.05, 1), *box])
    dets = np.array(rows)
    truth = parse_ground_truth(
        {'labels': CLASSES, 'videos': ['v'], 'nframes': {'v': 30}, 'gttubes': {}}
    )
    parsed = parse_detections(dets=dets, gt=truth, videos=['v'])
    for changes in ({}, {'nms': 'hard'}, {'trim_penalty': 3.0, 'min_length': 2}):
        protocol = get_protocol('act', **changes)
        result = evaluate_detections(parsed, truth, protocol)
        assert len(tubes_of(Detections.from_rows(dets), protocol)) == result['n_tubes'] > 2


def test_detections_file_brings_or_borrows_names(tmp_path):
    dets = np.array([[1, 1, 0, 0.5, 0, 0, 9, 9]], np.float32)
    np.savez(tmp_path / 'bare.npz', dets=dets)
    np.savez(tmp_path / 'full.npz', dets=dets, videos=['b', 'c'], labels=['x'])
    bare = read_detections(tmp_path / 'bare.npz', ['v', 'w'], CLASSES)
    assert (bare.videos, bare.classes) == (['v', 'w'], CLASSES)
    full = read_detections(tmp_path / 'full.npz', ['v', 'w'], CLASSES)
    assert (full.videos, full.classes) == (['b', 'c'], ['x'])
    np.testing.assert_array_equal(full.dets, dets)


def test_bad_detections_files_are_named(tmp_path):
    path = tmp_path / 'dets.npz'
    with pytest.raises(FileNotFoundError, match=r'dets\.npz'):
        read_detections(path, ['v'], CLASSES)
    path.write_text('nonsense')
    with pytest.raises(ValueError, match=r'dets\.npz: not'):
        read_detections(path, ['v'], CLASSES)
    np.savez(path, dets=np.zeros((2, 7)))
    with pytest.raises(ValueError, match='shape'):
        read_detections(path, ['v'], CLASSES)
    np.savez(path, dets=np.array([[0, 1, 0, 1, 0, 0, 1, 1], [3, 1, 0, 1, 0, 0, 1, 1.0]]))
    with pytest.raises(ValueError, match='row 1 has video index 3'):
        read_detections(path, ['v'], CLASSES)
