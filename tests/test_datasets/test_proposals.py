"""Proposals: the file, the data set, and score matrices back to detections."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmaction.structures import ActionDataSample
from mmengine.structures import InstanceData

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.datasets.draws import seeded
from mmstal_da.datasets.proposals import ProposalFile, save_proposals
from mmstal_da.errors import ProposalError
from mmstal_da.evaluation.metrics import TubeMetric
from mmstal_da.evaluation.metrics.score_matrix import expand_score_matrix
from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation
from tests.clips import actor_frames, write_dataset, write_video

HEIGHT, WIDTH = 48, 64
BOXES = np.array([[4, 5, 24, 32]] * 3)  # (3, 4) of frames 1 to 3, inclusive
NONE = np.zeros((0, 4)), np.zeros(0)
HAND_MADE = {
    ('b', 7): (np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([0.25, 0.75])),
    ('b', 2): (np.array([[9, 9, 12, 12]]), np.array([0.5])),
    ('a', 7): NONE,
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'made' / 'proposals.npz'
    save_proposals(path, dict(test=(HAND_MADE, dict(a=9, b=8))), dict(config='c.py'))
    return path


def test_file_gives_back_what_was_saved_best_first(file):
    part = ProposalFile(file, 'test')
    boxes, scores = part.of_frame('b', 7, 8)
    assert boxes.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]] and scores.tolist() == [0.75, 0.25]
    boxes, scores = part.of_frame('b', 2, 8)
    assert boxes.tolist() == [[9, 9, 12, 12]] and scores.tolist() == [0.5]
    boxes, scores = part.of_frame('a', 7, 9)
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    assert boxes.dtype == scores.dtype == np.float32
    assert part.meta == dict(config='c.py')


def test_many_random_frames_come_back(tmp_path):
    rng = np.random.default_rng(0)
    saved = {}
    for number in rng.permutation(200):
        n = rng.integers(0, 4)
        key = f'video {number % 7}', int(number // 7 * 3 + 1)
        corners = np.sort(rng.uniform(0, 99, (n, 2, 2)), 1)
        saved[key] = corners.reshape(n, 4).astype(np.float32), np.sort(rng.random(n))[::-1]
    lengths = {video: 100 + len(video) for video, _ in saved}
    save_proposals(tmp_path / 'p.npz', dict(train=(saved, lengths), val=({}, {})))
    part = ProposalFile(tmp_path / 'p.npz', 'train')
    for (video, frame), (boxes, scores) in saved.items():
        found = part.of_frame(video, frame, lengths[video])
        np.testing.assert_array_equal(found[0], boxes)
        np.testing.assert_array_equal(found[1], scores.astype(np.float32))
    with pytest.raises(ProposalError, match="no video 'video 1'"):
        ProposalFile(tmp_path / 'p.npz', 'val').of_frame('video 1', 1, 107)


@pytest.mark.parametrize(
    ('video', 'frame', 'num_frames', 'message'),
    [
        ('b', 3, 8, "no frame 3 of video 'b'"),
        ('b', 8, 8, "no frame 8 of video 'b'"),  # beyond the video's last
        ('a', 2, 9, "no frame 2 of video 'a'"),  # in the other video only
        ('c', 2, 8, "no video 'c'"),
        ('b', 2, 9, "video 'b' had 8 frames when the proposals were made and has 9 now"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    file, video, frame, num_frames, message
):
    with pytest.raises(ProposalError) as error:
        ProposalFile(file, 'test').of_frame(video, frame, num_frames)
    assert message in str(error.value) and f"{file}, part 'test'" in str(error.value)
    assert f'tools/data/dump_proposals.py CONFIG CHECKPOINT --out {file}' in str(error.value)


def test_missing_and_broken_files(file):
    with pytest.raises(ProposalError, match=r"no part 'train', only \['test'\].*--part test train"):
        ProposalFile(file, 'train')
    with pytest.raises(ProposalError, match='no such file of proposals; make it'):
        ProposalFile(file.with_name('other.npz'), 'test')
    whole = file.read_bytes()
    for content in (b'', b'text', whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ProposalError, match='not a readable file of proposals'):
            ProposalFile(file, 'test')
    with file.open('wb') as other:
        np.savez(other, dets=np.zeros((1, 8)))
    with pytest.raises(ProposalError, match='no part'):
        ProposalFile(file, 'test')


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp('actor') / 'actor.mkv'
    return write_video(path, actor_frames(BOXES, HEIGHT, WIDTH))


def packed(video, proposals, *middle, labelled=True, scale=1, frame=2, tubes=None, **kwargs):
    """The sample of a key frame; the annotation is ``scale`` times as large as the video.

    ``tubes`` are (label, box) of frame 2; by default one of class 1, the video's actor.
    """
    tubes = [(1, BOXES[1])] if tubes is None else tubes
    annotation = Annotation(
        dataset='toy',
        classes=['a', 'b', 'c'],
        videos={'actor': Video('actor.mkv', 3, WIDTH * scale, HEIGHT * scale)},
        tubes={
            'actor': [
                Tube('abc'[label], np.array([2]), np.float32([box]) * scale) for label, box in tubes
            ]
        },
        splits={'all': ['actor']},
    )
    file = Path(video).parent / 'actor.json'
    save_annotation(annotation, file)
    stages = [dict(type='SampleKeyFrameClip', clip_len=2), dict(type='DecodeFrames')]
    dataset = ActionTubeDataset(
        file.name,
        'all',
        [*stages, *middle, dict(type='PackTubeInputs')],
        data_root=str(file.parent),
        classes=['a', 'b', 'c'],
        labelled=labelled,
        proposals=proposals,
        background_frames=labelled,
        test_mode=True,
        **kwargs,
    )
    frames = [dataset.get_data_info(i)['key_frame'] for i in range(len(dataset))]
    with seeded(0):
        return dataset[frames.index(frame)]['data_samples']


def file_of(tmp_path, boxes, scores):
    """A file of proposals of frame 2; the others have none."""
    path = tmp_path / 'p.npz'
    proposals = {('actor', frame): NONE for frame in (1, 3)}
    proposals['actor', 2] = np.array(boxes, float).reshape(-1, 4), np.array(scores, float)
    save_proposals(path, dict(test=(proposals, dict(actor=len(BOXES)))))
    return str(path)


RESIZE = dict(type='mmaction.Resize', scale=(96, 36), keep_ratio=False)  # 1.5 and 0.75
FLIP = dict(type='mmaction.Flip', flip_ratio=1.0)


@pytest.mark.slow
@pytest.mark.parametrize('labelled', [True, False])
def test_proposals_go_through_resize_and_flip_in_the_annotations_convention(
    video, tmp_path, labelled
):
    # annotation twice as large as the video: x by 1.5 / 2, y by 0.75 / 2
    file = file_of(tmp_path, [[8, 8, 47, 63], [0, 0, 127, 95]], [0.9, 0.4])
    sample = packed(video, file, RESIZE, labelled=labelled, scale=2)
    # first and last pixel times the scale
    expected = [[6.0, 3.0, 35.25, 23.625], [0.0, 0.0, 95.25, 35.625]]
    np.testing.assert_allclose(sample.proposals.bboxes, expected, rtol=1e-6)
    np.testing.assert_allclose(sample.proposals.scores, [0.9, 0.4], rtol=1e-6)
    assert sample.img_shape == (36, 96) and sample.ori_shape == (96, 128)
    assert len(sample.gt_instances) == labelled

    sample = packed(video, file, RESIZE, FLIP, labelled=labelled, scale=2)
    # pixels 8 to 47 of 128, mirrored: 80 to 119
    expected = [[60.0, 3.0, 89.25, 23.625], [0.0, 0.0, 95.25, 35.625]]
    np.testing.assert_allclose(sample.proposals.bboxes, expected, rtol=1e-6)
    # what upstream's head returns, boxes as shares of the frame, is the annotation's pixels again
    shares = sample.proposals.bboxes.numpy() / np.array([96, 36, 96, 36])
    boxes, _, _ = expand_score_matrix(shares, np.ones((2, 1)), 1, sample.ori_shape)
    np.testing.assert_allclose(boxes, [[80, 8, 119, 63], [0, 0, 127, 95]], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('middle', [(), (RESIZE,), (RESIZE, FLIP)])
def test_ground_truth_as_proposals(video, middle):
    tubes = [(2, [4, 5, 24, 32]), (0, [0, 1, 9, 9])]
    sample = packed(video, 'ground_truth', *middle, tubes=tubes)
    torch.testing.assert_close(sample.proposals.bboxes, sample.gt_instances.bboxes)
    assert sample.proposals.scores.tolist() == [1, 1]
    assert sample.gt_instances.labels.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert sample.gt_instances.labels.dtype == torch.float32


@pytest.mark.slow
def test_a_frame_without_proposals_gets_the_whole_frame_with_score_zero(video, tmp_path):
    sample = packed(video, file_of(tmp_path, [], []), RESIZE)
    np.testing.assert_allclose(sample.proposals.bboxes, [[0, 0, 94.5, 35.25]])
    assert sample.proposals.scores.tolist() == [0]
    sample = packed(video, 'ground_truth', frame=3)
    assert sample.proposals.scores.tolist() == [0]
    assert sample.gt_instances.labels.shape == (0, 3)


@pytest.mark.slow
def test_only_the_best_are_kept(video, tmp_path):
    file = file_of(tmp_path, [[0, 0, 5, 5], [1, 1, 5, 5], [2, 2, 5, 5]], [0.2, 0.9, 0.5])
    sample = packed(video, file, max_proposals=2)
    assert sample.proposals.bboxes.tolist() == [[1, 1, 5, 5], [2, 2, 5, 5]]


@pytest.mark.slow
def test_complaints_of_the_data_set(video, tmp_path):
    file = file_of(tmp_path, [[0, 0, 5, 5]], [0.2])
    save_proposals(
        tmp_path / 'few.npz', dict(test=({('actor', 1): NONE, ('actor', 2): NONE}, dict(actor=3)))
    )
    with pytest.raises(ProposalError, match="no frame 3 of video 'actor'"):
        packed(video, str(tmp_path / 'few.npz'), frame=3)
    with pytest.raises(ValueError, match="actor.json: proposals='ground_truth'.*labelled=True"):
        packed(video, 'ground_truth', labelled=False)
    with pytest.raises(ProposalError, match="no part 'train', only"):
        packed(video, file, proposals_part='train')
    with pytest.raises(ValueError, match="proposals_part` is one of .*, not 'all'"):
        packed(video, file, proposals_part='all')
    with pytest.raises(ValueError, match='max_proposals is a whole number of at least 1'):
        packed(video, file, max_proposals=0)
    ann_file = write_dataset(tmp_path, ['a'], ['run'], num_frames=5)
    with pytest.raises(ValueError, match='at least 2 classes, not 1'):
        ActionTubeDataset(str(ann_file), 'train', proposals='ground_truth')


def brute_force(boxes, scores, num_classes, size, weights, min_score):
    rows = []
    skip = scores.shape[1] - num_classes
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        for label in range(num_classes):
            score = scores[i, label + skip] * (1 if weights is None else weights[i])
            if score >= min_score and score > 0:
                rows.append([x1 * size[1], y1 * size[0], x2 * size[1], y2 * size[0], score, label])
    return np.array(rows).reshape(-1, 6)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 6),
    num_classes=st.integers(1, 5),
    background=st.booleans(),
    weighted=st.booleans(),
    min_score=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_score_matrix_as_by_brute_force(seed, n, num_classes, background, weighted, min_score):
    rng = np.random.default_rng(seed)
    boxes = rng.random((n, 4))
    scores = rng.choice([0.0, 0.005, 0.2, 0.3, 0.9], (n, num_classes + background))
    weights = rng.choice([0.0, 0.5, 1.0], n) if weighted else None
    given_ = boxes.copy(), scores.copy()
    found = expand_score_matrix(boxes, scores, num_classes, (48, 64), weights, min_score)
    expected = brute_force(boxes, scores, num_classes, (48, 64), weights, min_score)
    np.testing.assert_allclose(np.column_stack(found).reshape(-1, 6), expected)
    np.testing.assert_array_equal(given_[0], boxes)  # nothing is changed in place
    np.testing.assert_array_equal(given_[1], scores)


def test_score_matrix_of_other_sizes_is_refused():
    for shape in ((2, 3), (2, 6), (1, 4)):
        with pytest.raises(ValueError, match='for 2 boxes and 4 classes'):
            expand_score_matrix(np.zeros((2, 4)), np.zeros(shape), 4, (9, 9))
    with pytest.raises(ValueError, match='scores of proposals for 2 boxes'):
        expand_score_matrix(np.zeros((2, 4)), np.zeros((2, 4)), 4, (9, 9), np.zeros(3))


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_tube_metric_scores_matrices_as_the_same_detections_one_by_one(tmp_path, dtype):
    """Perfect boxes; the better class score is wrong in every third frame."""
    ann_file = write_dataset(tmp_path, ['a', 'b'], ['run', 'jump'], num_frames=30)
    metrics = [TubeMetric(str(ann_file), 'train', background_frames=True) for _ in range(2)]
    dataset = ActionTubeDataset(str(ann_file), 'train', background_frames=True, test_mode=True)
    size = np.array([64, 48, 64, 48], np.float32)
    rng = np.random.default_rng(0)
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        boxes = np.vstack([info['gt_bboxes'], [[0, 0, 63, 47]]]).astype(np.float32)
        actor = 0.5 if len(boxes) > 1 else 0.0
        weights = rng.uniform(0.2, 0.3, 2).astype(np.float32)[-len(boxes) :]
        weights[0] += actor
        right = info['gt_labels'][0] if len(boxes) > 1 else 0
        classes = rng.uniform(0.2, 0.3, (len(boxes), 2))  # distinct, so that no order is chance
        classes[0, right if i % 3 else 1 - right] = rng.uniform(0.6, 0.9)
        classes = torch.tensor(classes).to(dtype).float().numpy()
        meta = dict(video_name=info['video_name'], key_frame=info['key_frame'])
        matrix = ActionDataSample(metainfo=dict(meta, ori_shape=(48, 64)))
        matrix.proposals = InstanceData(scores=torch.tensor(weights))
        matrix.pred_instances = InstanceData(
            bboxes=torch.tensor(boxes / size),
            scores=torch.tensor(np.c_[np.ones(len(boxes)), classes]).to(dtype),
        )
        flat = ActionDataSample(metainfo=meta)
        flat.pred_instances = InstanceData(
            bboxes=torch.tensor(boxes.repeat(2, 0)),
            scores=torch.tensor((classes * weights[:, None]).ravel()),
            labels=torch.tensor([0, 1] * len(boxes)),
        )
        for metric, sample in zip(metrics, (matrix, flat), strict=True):
            metric.process({}, [sample.to_dict()])
    first, second = (metric.evaluate(len(dataset)) for metric in metrics)
    assert first == second
    assert 0 < first['frame_mAP@0.5'] < 100


def test_tube_metric_names_video_and_frame_of_a_wrong_matrix(tmp_path):
    ann_file = write_dataset(tmp_path, ['a', 'b'], ['run', 'jump'], num_frames=5)
    sample = ActionDataSample(
        metainfo=dict(video_name='a', key_frame=4, ori_shape=(48, 64)),
        pred_instances=InstanceData(bboxes=torch.zeros(1, 4), scores=torch.zeros(1, 81)),
    )
    with pytest.raises(ValueError, match=r"video 'a', frame 4: scores are \(1, 81\).*2 classes"):
        TubeMetric(str(ann_file), 'train').process({}, [sample.to_dict()])
