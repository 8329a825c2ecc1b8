"""The exported graph: its operators by their definitions, the whole of it by ``predict``."""

import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmstal_da.apis.onnx_export import OPSET
from mmstal_da.apis.onnx_graph import DetectorGraph, OnnxNms, OnnxRoiAlign
from mmstal_da.errors import UsageError
from tests.model_builders import build_detector, collate, packed
from tests.test_ops import definition

onnxruntime = pytest.importorskip('onnxruntime', reason="pip install 'mmstal_da[onnx]'")


class Operator(nn.Module):
    """One operator with its fixed arguments."""

    def __init__(self, function, *arguments):
        super().__init__()
        self.function, self.arguments = function, arguments

    def forward(self, *tensors):
        return self.function.apply(*tensors, *self.arguments)


def session_of(module: nn.Module, inputs: dict[str, torch.Tensor], free: dict):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module, tuple(inputs.values()), buffer, input_names=list(inputs), dynamic_axes=free,
            opset_version=OPSET, dynamo=False, autograd_inlining=False,
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(buffer.getvalue(), options)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_is_the_definition(aligned, ratio):
    rng = np.random.default_rng(ratio)
    features = rng.normal(size=(2, 3, 9, 11)).astype(np.float32)
    corner = rng.uniform(-30, 150, (12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.5, 120, (12, 2))], 1)
    image = rng.integers(0, 2, 12)
    rois = np.column_stack((image, boxes)).astype(np.float32)
    from mmcv.ops import RoIAlign  # which mmstal_da has made importable

    layer = RoIAlign((3, 2), 1 / 16, ratio, aligned=aligned)
    inputs = dict(
        features=torch.zeros(1, 3, 4, 4), boxes=torch.zeros(1, 4), image=torch.zeros(1).long()
    )
    free = dict(features={0: 'n', 2: 'h', 3: 'w'}, boxes={0: 'r'}, image={0: 'r'})
    session = session_of(Operator(OnnxRoiAlign, layer), inputs, free)
    feeds = dict(features=features, boxes=rois[:, 1:], image=image.astype(np.int64))
    (found,) = session.run(None, feeds)
    expected, _ = definition.roi_align(features, rois, (3, 2), 1 / 16, ratio, aligned, 'avg')
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture(scope='module')
def nms_session():
    inputs = dict(boxes=torch.ones(1, 2, 4), scores=torch.ones(1, 1, 2), score_thr=torch.zeros(1))
    free = dict(boxes={0: 'n', 1: 'm'}, scores={0: 'n', 2: 'm'})
    return session_of(Operator(OnnxNms, 0.5, 5), inputs, free)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), images=st.integers(1, 3), number=st.integers(1, 25))
def test_nms_is_the_definition(nms_session, seed, images, number):
    """On a coarse grid: equal and empty boxes, overlaps of just the threshold, equal scores."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 8, (images, number, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 6, corner.shape)], 2)
    boxes, scores = boxes.astype(np.float32), rng.integers(0, 10, (images, 1, number)) / 10
    scores = scores.astype(np.float32)
    expected = []
    for image in range(images):
        above = np.flatnonzero(scores[image, 0] > np.float32(0.2))
        kept = definition.nms(boxes[image, above], scores[image, 0, above], 0.5, 0)[:5]
        expected += [(image, 0, above[index]) for index in kept]
    threshold = np.array([0.2], np.float32)
    feeds = dict(boxes=boxes, scores=scores, score_thr=threshold)
    (found,) = nms_session.run(None, feeds)
    assert found.tolist() == np.array(expected, int).reshape(-1, 3).tolist()
    of_torch = OnnxNms.apply(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(threshold), 0.5, 5
    )
    assert of_torch.tolist() == found.tolist()


@torch.no_grad()
def spread(detector, data: dict) -> None:
    """Make a random detector find boxes that move, of all classes, with scores between 0 and 1."""
    head = detector.roi_head.bbox_head
    detector.rpn_head.rpn_cls.weight.mul_(20)
    outputs = detector(**data, mode='tensor')
    for layer, values in zip((head.fc_cls, head.fc_reg), outputs, strict=True):
        if len(values):
            factor = 0.3 / values.std(0).mean()
            layer.bias.sub_(values.mean(0)).mul_(factor)
            layer.weight.mul_(factor)


@torch.no_grad()
def run_graph(detector, inputs: dict, samples: list):
    sizes, scales = (
        torch.tensor([sample.metainfo[key] for sample in samples]).float()
        for key in ('img_shape', 'scale_factor')
    )
    threshold = torch.tensor([detector.roi_head.test_cfg.score_thr])
    graph = DetectorGraph(detector).eval()
    return graph(inputs['clip'], inputs['key_frame'], sizes, scales, threshold)


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'test_cfg.rpn.nms_pre': 9, 'test_cfg.rpn.max_per_img': 4},
        {'test_cfg.rpn.nms_pre': -1, 'test_cfg.rpn.min_bbox_size': 20},
        {'test_cfg.rpn.min_bbox_size': 1000},  # no proposal
        {'test_cfg.rcnn.score_thr': 0.26, 'test_cfg.rcnn.max_per_img': -1},
        {'test_cfg.rcnn.nms.class_agnostic': True, 'test_cfg.rcnn.nms.iou_threshold': 0.3},
        {'roi_head.bbox_head.reg_class_agnostic': False},
        {'roi_head.bbox_roi_extractor.roi_layer.sampling_ratio': 0},
        {'data_preprocessor.pad_size_divisor': 32},
    ],
    ids=str,
)
def test_the_graph_is_predict(changes):
    detector = build_detector(**changes).eval()
    rng = np.random.default_rng(0)
    batch = collate([packed(rng, size=size, labels=False) for size in ((48, 64), (35, 90))])
    data = detector.data_preprocessor(batch)
    samples = data['data_samples']
    samples[1].set_metainfo(dict(scale_factor=(0.5, 0.8)))
    spread(detector, data)
    boxes, scores, labels, place = run_graph(detector, data['inputs'], samples)
    with torch.no_grad():
        detector.predict(data['inputs'], samples)
    counts = [len(sample.pred_instances) for sample in samples]
    assert torch.bincount(place, minlength=2).tolist() == counts
    for index, sample in enumerate(samples):
        rows, expected = place == index, sample.pred_instances
        torch.testing.assert_close(scores[rows], expected.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(boxes[rows], expected.bboxes, atol=1e-3, rtol=0)
        assert torch.equal(labels[rows], expected.labels)
    if changes.get('test_cfg.rpn.min_bbox_size') == 1000:
        assert counts == [0, 0]
    else:
        assert min(counts) > 1 and len(labels.unique()) > 1


def test_the_graph_pads_by_itself():
    detector = build_detector().eval()
    batch = collate([packed(np.random.default_rng(1), size=(35, 60), labels=False)])
    data = detector.data_preprocessor(batch)
    assert data['inputs']['clip'].shape[-2:] == (48, 64)
    padded = run_graph(detector, data['inputs'], data['data_samples'])
    cut = {name: value[..., :35, :60] for name, value in data['inputs'].items()}
    for one, other in zip(padded, run_graph(detector, cut, data['data_samples']), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'test_cfg.rcnn.nms.type': 'soft_nms'}, r"test_cfg\.rcnn\.nms = dict\(type='nms'"),
        ({'test_cfg.rpn.nms.offset': 1}, r'test_cfg\.rpn\.nms'),
        ({'test_cfg.rpn.max_per_img': -1}, r'test_cfg\.rpn\.max_per_img of at least 1'),
        ({'roi_head.bbox_roi_extractor.roi_layer.pool_mode': 'max'}, "pool_mode = 'avg'"),
        ({'rpn_head.bbox_coder.clip_border': False}, r'rpn_head\.bbox_coder\.clip_border'),
        ({'rpn_head.bbox_coder.type': 'mmdet.LegacyDeltaXYWHBBoxCoder'}, 'knows DeltaXYWHBBoxCod'),
        ({'roi_head.type': 'mmdet.StandardRoIHead'}, 'knows ActionRoIHead as model.roi_head, not'),
    ],
    ids=str,
)
def test_what_the_opset_cannot_compute_is_refused(changes, message):
    detector = build_detector(**changes)
    with pytest.raises(UsageError, match=message):
        DetectorGraph(detector)
