"""NMS against torchvision's recorded answers and the definition."""

import importlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da import compat  # noqa: F401  (makes mmcv.ops importable)
from mmstal_da.ops import nms as own
from mmstal_da.ops import torchvision_has_ops
from mmstal_da.ops.extension import OperatorModule
from tests.test_ops import definition


def boxes_and_scores(seed: int, number: int, grid: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes on a coarse grid, so that equal boxes, touching ones and ones without area occur."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, grid, (number, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 6, (number, 2))], 1)
    scores = rng.permutation(number) / max(number, 1) * 0.9 + 0.05
    return torch.from_numpy(boxes.astype(np.float32)), torch.from_numpy(scores.astype(np.float32))


@pytest.fixture(params=['own', 'torchvision'])
def extension(request) -> OperatorModule:
    torchvision = request.param == 'torchvision'
    if torchvision and not torchvision_has_ops():
        pytest.skip('torchvision is not installed, or was built for another torch')
    return OperatorModule(torchvision)


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_recorded_answers_of_torchvision(extension, test_data, monkeypatch, threshold):
    with np.load(test_data / 'ops_small/roi_align_nms.npz') as file:
        boxes, scores, labels, kept, batched = (
            torch.from_numpy(file[key])
            for key in ('boxes', 'scores', 'labels', f'nms_{threshold}', f'batched_nms_{threshold}')
        )
    assert torch.equal(extension.nms(boxes, scores, threshold, 0), kept)
    mmcv_nms = importlib.import_module('mmcv.ops.nms')
    monkeypatch.setattr(mmcv_nms, 'ext_module', extension)
    assert torch.equal(mmcv_nms.nms(boxes, scores, threshold)[1], kept)
    cfg = dict(type='nms', iou_threshold=threshold)
    assert torch.equal(mmcv_nms.batched_nms(boxes, scores, labels, cfg)[1], batched)


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    number=st.integers(0, 40),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    offset=st.sampled_from([0, 1]),
)
@settings(max_examples=150, deadline=None)
def test_the_definition(seed, number, threshold, offset):
    boxes, scores = boxes_and_scores(seed, number)
    expected = definition.nms(boxes.numpy(), scores.numpy(), threshold, offset)
    assert own.nms(boxes, scores, threshold, offset).tolist() == expected


def test_torchvision_and_own_agree():
    if not torchvision_has_ops():
        pytest.skip('torchvision is not installed, or was built for another torch')
    for seed in range(20):
        boxes, scores = boxes_and_scores(seed, 300, grid=60)
        # no IoU of these boxes is at the threshold, which torchvision takes in float64
        results = [OperatorModule(t).nms(boxes, scores, 0.43, 0) for t in (False, True)]
        assert torch.equal(*results)


def test_more_boxes_than_one_block(monkeypatch):
    boxes, scores = boxes_and_scores(3, 200, grid=30)
    whole = own.nms(boxes, scores, 0.4)
    monkeypatch.setattr(own, '_BLOCK', 7)
    assert torch.equal(own.nms(boxes, scores, 0.4), whole)


def test_of_equal_scores_the_earlier_box_stays():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [20, 20, 29, 29]])
    assert own.nms(boxes, torch.ones(3), 0.5).tolist() == [0, 2]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(extension, dtype):
    boxes, scores = boxes_and_scores(0, 30)
    expected = definition.nms(boxes.numpy(), scores.to(dtype).float().numpy(), 0.5, 0)
    assert extension.nms(boxes.to(dtype), scores.to(dtype), 0.5, 0).tolist() == expected


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    number=st.integers(0, 25),
    method=st.sampled_from(['naive', 'linear', 'gaussian']),
    offset=st.sampled_from([0, 1]),
    min_score=st.sampled_from([1e-3, 0.2]),
)
@settings(max_examples=150, deadline=None)
def test_soft_nms(seed, number, method, offset, min_score):
    boxes, scores = boxes_and_scores(seed, number)
    methods = ['naive', 'linear', 'gaussian']
    dets, index = own.soft_nms(boxes, scores, 0.3, 0.5, min_score, methods.index(method), offset)
    expected = definition.soft_nms(
        boxes.numpy(), scores.numpy(), 0.3, 0.5, min_score, method, offset
    )
    # by descending score; boxes whose scores differ by rounding alone may change places
    np.testing.assert_allclose(dets[:, 4], [score for _, score in expected], rtol=1e-5, atol=1e-7)
    assert torch.equal(dets[:, :4], boxes[index])
    assert sorted(index.tolist()) == sorted(i for i, _ in expected)


def test_soft_nms_through_mmcv():
    """The example of mmcv's docstring keeps 5 boxes."""
    from mmcv.ops import soft_nms

    boxes = np.float32([[4, 3, 5, 3], [4, 3, 5, 4], *[[3, 1, 3, 1]] * 4])
    scores = np.float32([0.9, 0.9, 0.5, 0.5, 0.4, 0.0])
    dets, index = soft_nms(boxes, scores, iou_threshold=0.6, sigma=0.5)
    assert len(dets) == len(index) == 5
