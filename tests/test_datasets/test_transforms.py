import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import Compose

from mmstal_da.datasets.draws import seeded
from mmstal_da.datasets.transforms import (
    DecodeFrames,
    FilterBoxes,
    PackTubeInputs,
    SampleKeyFrameClip,
)
from mmstal_da.errors import VideoError
from mmstal_da.registry import TRANSFORMS
from tests.clips import actor_frames, write_video

HEIGHT, WIDTH = 48, 64
BOXES = np.array([[4 + i, 5, 24 + i, 32] for i in range(9)])  # (9, 4), inclusive


@pytest.fixture(scope='module')
def actor(tmp_path_factory):
    """A clip whose actor moves right by a pixel a frame."""
    path = tmp_path_factory.mktemp('actor') / 'actor.mkv'
    return write_video(path, actor_frames(BOXES, HEIGHT, WIDTH))


def info_of(path, key_frame=5, **changes):
    info = dict(
        video_name='actor', filename=str(path), filename_tmpl=None, total_frames=len(BOXES),
        key_frame=key_frame, height=HEIGHT, width=WIDTH, fps=25.0,
        gt_bboxes=BOXES[key_frame - 1 : key_frame].astype(np.float32),
        gt_labels=np.array([1]),
    )  # fmt: skip
    return {**info, **changes}


def pipeline(*middle, clip_len=4):
    stages = [dict(type='SampleKeyFrameClip', clip_len=clip_len), dict(type='DecodeFrames')]
    stages += [*middle, dict(type='PackTubeInputs')]
    return Compose([TRANSFORMS.build(stage) for stage in stages])


def seen_box(image: torch.Tensor) -> np.ndarray | None:
    """The red actor of a (3, H, W) image in edge coordinates, to about half a pixel."""
    red = (image[0].float() - image[1].float()).clamp(min=0)  # what is not grey
    red = red / red.max().clamp(min=1)
    rows, columns = (np.flatnonzero(red.amax(axis) > 0.5) for axis in (1, 0))
    if red.sum() < 1:
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


@pytest.mark.parametrize(
    ('key_frame', 'clip_len', 'interval', 'expected'),
    [
        (10, 4, 1, [8, 9, 10, 11]),
        (10, 5, 1, [8, 9, 10, 11, 12]),
        (1, 4, 1, [1, 1, 1, 2]),
        (20, 6, 1, [17, 18, 19, 20, 20, 20]),
        (10, 4, 3, [4, 7, 10, 13]),
        (2, 4, 2, [1, 1, 2, 4]),
        (7, 1, 1, [7]),
    ],
)
def test_the_key_frame_is_the_centre_and_edges_are_clamped(key_frame, clip_len, interval, expected):
    results = dict(key_frame=key_frame, total_frames=20)
    results = SampleKeyFrameClip(clip_len, interval)(results)
    assert results['frame_inds'].tolist() == expected
    assert results['frame_inds'][results['key_index']] == key_frame


def test_the_default_clip_has_twenty_frames():
    results = SampleKeyFrameClip()(dict(key_frame=100, total_frames=200))
    assert results['frame_inds'].tolist() == list(range(90, 110))
    assert results['key_index'] == 10


def test_what_is_packed(actor):
    packed = pipeline()(info_of(actor))
    inputs, sample = packed['inputs'], packed['data_samples']
    assert inputs.shape == (3, 4, HEIGHT, WIDTH)
    assert inputs.dtype == torch.uint8
    assert inputs.is_contiguous()
    # RGB, and frame k of the clip shows the actor where frame 3 + k has it
    for index, image in enumerate(inputs.unbind(1)):
        assert (seen_box(image) == BOXES[2 + index] + [0, 0, 1, 1]).all()
    assert sample.gt_instances.bboxes.dtype == torch.float32
    assert sample.gt_instances.bboxes.tolist() == BOXES[4:5].tolist()
    assert sample.gt_instances.labels.dtype == torch.int64
    meta = {key: sample.get(key) for key in sample.metainfo_keys()}
    assert meta == dict(
        video_name='actor', key_frame=5, key_index=2, img_shape=(48, 64), ori_shape=(48, 64),
        scale_factor=(1.0, 1.0), flip=False,
    )  # fmt: skip


def test_without_labels_nothing_is_packed_but_pixels(actor):
    info = info_of(actor)
    del info['gt_bboxes'], info['gt_labels']
    packed = pipeline(dict(type='mmaction.Flip', flip_ratio=1.0), dict(type='FilterBoxes'))(info)
    assert list(packed['data_samples'].all_keys()) == list(packed['data_samples'].metainfo_keys())
    assert packed['data_samples'].flip is True


def test_boxes_follow_a_video_of_another_resolution(tmp_path):
    # as the re-encoded UCF101 clips: annotated at 64x48, stored at 128x72
    big = BOXES * [2, 1.5, 2, 1.5] + [0, 0, 1, 0.5]
    path = write_video(tmp_path / 'big.mkv', actor_frames(np.floor(big), 72, 128))
    packed = pipeline()(info_of(path))
    sample = packed['data_samples']
    assert sample.scale_factor == (2.0, 1.5)
    assert sample.ori_shape == (48, 64)
    assert sample.img_shape == (72, 128)
    box = sample.gt_instances.bboxes[0].numpy()
    assert np.allclose(box, BOXES[4] * [2, 1.5, 2, 1.5])
    # a box of the input divided by the scale is a box of the annotation
    assert np.allclose(box / np.tile(sample.scale_factor, 2), BOXES[4])


AUGMENTATIONS = [
    dict(type='mmaction.RandomRescale', scale_range=(96, 160)),
    dict(type='mmaction.RandomCrop', size=88),
    dict(type='mmaction.Resize', scale=(112, 80), keep_ratio=False),
    dict(type='mmaction.Flip', flip_ratio=0.5),
    dict(type='mmaction.ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2, hue=0.0),
    dict(type='FilterBoxes', min_size=4.0, min_visible=0.3),
]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), key_frame=st.integers(1, len(BOXES)))
def test_boxes_stay_on_the_actor_whatever_the_augmentation(actor, seed, key_frame):
    with seeded(seed):
        packed = pipeline(*AUGMENTATIONS)(info_of(actor, key_frame))
    sample = packed['data_samples']
    image = packed['inputs'][:, sample.key_index]
    seen, boxes = seen_box(image), sample.gt_instances.bboxes.numpy()
    assert sample.img_shape == tuple(image.shape[1:])
    if len(boxes):
        edges = boxes[0] + np.r_[0, 0, sample.scale_factor]
        # RandomCrop takes a pixel off a box that touches the right or lower border
        assert np.abs(edges - seen).max() <= 2.5, (edges, seen)
        assert sample.gt_instances.labels.tolist() == [1]
    elif seen is not None:
        # dropped: at least about 70% of the actor is outside, or it is thinner than 4 pixels
        size = (seen[2:] - seen[:2]) + 1.5
        full = np.prod((BOXES[0, 2:] - BOXES[0, :2] + 1) * sample.scale_factor)
        assert size.min() < 6.5 or size.prod() < 0.4 * full


def test_flipping_is_exact_to_the_pixel(actor):
    packed = pipeline(dict(type='mmaction.Flip', flip_ratio=1.0))(info_of(actor))
    sample = packed['data_samples']
    x1, y1, x2, y2 = BOXES[4].tolist()
    assert sample.gt_instances.bboxes.tolist() == [[WIDTH - 1 - x2, y1, WIDTH - 1 - x1, y2]]
    expected = sample.gt_instances.bboxes[0].numpy() + np.array([0, 0, 1, 1])
    assert (seen_box(packed['inputs'][:, sample.key_index]) == expected).all()


def test_clamped_frames_are_flipped_once(actor):
    # MMAction2 flips in place: frames repeated at the edge must not share their memory
    packed = pipeline(dict(type='mmaction.Flip', flip_ratio=1.0), clip_len=3)(info_of(actor, 1))
    assert torch.equal(packed['inputs'][:, 0], packed['inputs'][:, 1])
    assert seen_box(packed['inputs'][:, 0])[0] == WIDTH - BOXES[0, 2] - 1


def test_the_short_side_is_resized(actor):
    packed = pipeline(dict(type='mmaction.Resize', scale=(-1, 96)))(info_of(actor))
    assert packed['inputs'].shape == (3, 4, 96, 128)
    assert packed['data_samples'].scale_factor == (2.0, 2.0)


def test_filter_boxes():
    boxes = np.array(
        [[10, 10, 30, 30], [-50, 0, -1, 40], [90, 10, 130, 50], [10, 10, 12, 40]], np.float32
    )
    results = dict(
        gt_bboxes=boxes, gt_labels=np.arange(4), img_shape=(80, 100),
        gt_areas=np.array([100, 490, 400, 15], np.float32),
        scale_factor=np.array([2, 2], np.float32),
    )  # fmt: skip
    kept = FilterBoxes(min_size=4, min_visible=0.2)(dict(results))
    assert kept['gt_labels'].tolist() == [0, 2]
    assert kept['gt_bboxes'].tolist() == [[10, 10, 30, 30], [90, 10, 100, 50]]
    assert kept['gt_areas'].tolist() == [100, 400]
    assert FilterBoxes(4, 0.3)(dict(results))['gt_labels'].tolist() == [0]
    assert FilterBoxes(0, 0.2)(dict(results))['gt_labels'].tolist() == [0, 2, 3]


def test_frames_of_different_sizes_are_an_error(tmp_path):
    import cv2

    for number, width in ((1, 64), (2, 32)):
        cv2.imwrite(str(tmp_path / f'{number:05d}.png'), np.zeros((48, width, 3), np.uint8))
    info = info_of(tmp_path, 1, total_frames=2, filename_tmpl='{:05d}.png')
    with pytest.raises(VideoError, match='frame 2 is 32x48, frame 1 64x48'):
        pipeline(clip_len=3)(info)


@pytest.mark.slow
def test_real_boxes_stay_on_real_actors(test_data):
    """The puppet mask, sent through the same transforms as the clip, lies in the box."""
    import scipy.io

    from mmstal_da.tubes.converters.jhmdb import from_annot_mat

    annotation = from_annot_mat(test_data / 'jhmdb/jhmdb_annot.mat')
    geometry = [stage for stage in AUGMENTATIONS if stage['type'] != 'mmaction.ColorJitter']
    stages = [TRANSFORMS.build(stage) for stage in geometry]
    files = sorted((test_data / 'jhmdb/puppet_mask').glob('*/*.mat'))[::10]
    compared = 0
    for number, file in enumerate(files):
        masks = scipy.io.loadmat(file)['part_mask']  # (H, W, N)
        name = f'{file.parent.name}/{file.stem}'
        video, tube = annotation.videos[name], annotation.tubes[name][0]
        info = info_of(
            test_data / 'jhmdb/clips' / video.path, 3, total_frames=video.num_frames,
            height=240, width=320, gt_bboxes=tube.boxes[2:3].copy(),
        )  # fmt: skip
        results = DecodeFrames()(SampleKeyFrameClip(4)(info))
        results['imgs'] = [np.repeat(masks[:, :, 2, None] * 255, 3, 2).astype(np.uint8)] * 4
        results['imgs'] = [image.copy() for image in results['imgs']]
        with seeded(number):
            for stage in stages:
                results = stage(results)
        packed = PackTubeInputs()(results)
        boxes = packed['data_samples'].gt_instances.bboxes
        if len(boxes):
            ys, xs = np.nonzero(packed['inputs'][0, 2].numpy() > 127)
            edges = boxes[0].numpy() + np.r_[0, 0, packed['data_samples'].scale_factor]
            seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert np.abs(edges - seen).max() < 4, name
            compared += 1
    assert compared >= 5
