"""MMAction2's AVA-style detectors on this project's data: they see, learn and predict."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmstal_da.evaluation.metrics.score_matrix import expand_score_matrix
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
DETECTORS = ('slowonly', 'slowfast', 'acrn')
PAIRS = ('synthetic_a', 'jhmdb_to_ucf101')  # narrow, full size
ALL_PAIRS = sorted(path.parent.name for path in CONFIGS.glob('*/slowonly.py'))


def build(name: str, seed: int = 0, **changes):
    """The model of a row, from random weights."""
    register_all_modules()
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.merge_from_dict({'model.init_cfg': None, **changes})
    torch.manual_seed(seed)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def sample_of(boxes, scores, labels=None, num_classes=4, size=(48, 64), **meta) -> ActionDataSample:
    """As PackTubeInputs makes it of proposals; the original video is twice as large."""
    sample = ActionDataSample(
        metainfo=dict(img_shape=size, ori_shape=(2 * size[0], 2 * size[1]), **meta)
    )
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    sample.proposals = InstanceData(bboxes=boxes, scores=torch.tensor(scores))
    if labels is not None:
        one_hot = torch.eye(num_classes)[torch.tensor(labels)]
        sample.gt_instances = InstanceData(bboxes=boxes[: len(labels)].clone(), labels=one_hot)
    return sample


def moving_bars(label: int, length: int = 8, size=(48, 64)) -> torch.Tensor:
    """A clip (3, T, H, W) in which a bright bar moves right, left, down or up."""
    clip = torch.full((3, length, *size), 60, dtype=torch.uint8)
    for t in range(length):
        place = 4 * t if label % 2 == 0 else 4 * (length - 1 - t)
        if label < 2:
            clip[:, t, 8:40, 12 + place : 20 + place] = 220
        else:
            clip[:, t, 4 + place : 12 + place, 16:48] = 220
    return clip


def batch_of_actions() -> dict:
    clips = [moving_bars(label) for label in range(4)]
    samples = [sample_of([[10, 4, 54, 44]], [1.0], [label]) for label in range(4)]
    return dict(inputs=clips, data_samples=samples)


@pytest.mark.slow
@pytest.mark.parametrize('name', DETECTORS)
def test_narrow_detectors_learn_four_clips_by_heart_and_predict_them(name):
    model = build(
        f'synthetic_a/{name}_gt', **{'model.roi_head.bbox_head.dropout_ratio': 0.0}
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = []
    for _ in range(20):
        data = model.data_preprocessor(batch_of_actions(), True)
        losses = model(**data, mode='loss')
        optimizer.zero_grad()
        losses['loss_action_cls'].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        values.append(losses['loss_action_cls'].item())
    assert np.mean(values[-3:]) < 0.3 * np.mean(values[:3]), values

    # batch norm's running statistics lag behind: take those of these clips
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model(**model.data_preprocessor(batch_of_actions()), mode='loss')
    model.eval()
    for label in range(4):  # upstream's head takes one sample at test
        batch = dict(
            inputs=[moving_bars(label)], data_samples=[sample_of([[10, 4, 54, 44]], [1.0])]
        )
        with torch.no_grad():
            (result,) = model(**model.data_preprocessor(batch), mode='predict')
        scores = result.pred_instances.scores
        assert scores.shape == (1, 4) and scores.argmax() == label
        torch.testing.assert_close(scores.sum(), torch.tensor(1.0))


@pytest.mark.slow
@pytest.mark.parametrize('name', DETECTORS)
def test_predicted_boxes_are_the_proposals_in_pixels_of_the_original_video(name):
    model = build(f'synthetic_a/{name}').eval()
    boxes = [[10.0, 4, 54, 44], [0, 0, 63.5, 47.5], [3.25, 7, 9, 30]]
    sample = sample_of(boxes, [0.9, 0.5, 0.1])
    batch = dict(inputs=[moving_bars(0)], data_samples=[sample])
    with torch.no_grad():
        (result,) = model(**model.data_preprocessor(batch), mode='predict')
    predicted = result.to_dict()
    instances = predicted['pred_instances']
    found, scores, labels = expand_score_matrix(
        instances['bboxes'].numpy(), instances['scores'].numpy(), 4, predicted['ori_shape'],
        predicted['proposals']['scores'].numpy(),
    )  # fmt: skip
    np.testing.assert_allclose(found, 2 * np.repeat(boxes, 4, axis=0), rtol=1e-5)
    assert labels.tolist() == [0, 1, 2, 3] * 3
    # the classes of a box share its objectness
    np.testing.assert_allclose(scores.reshape(3, 4).sum(1), [0.9, 0.5, 0.1], rtol=1e-5)


@pytest.mark.parametrize(
    'name', ['slowonly', *(pytest.param(name, marks=pytest.mark.slow) for name in DETECTORS[1:])]
)
def test_full_size_detectors_fit_together(name):
    """R50 at full width: channels agree throughout, and pretrained batch norm is kept."""
    model = build(f'jhmdb_to_ucf101/{name}').train()
    slow = model.backbone if name == 'slowonly' else model.backbone.slow_path
    assert slow.base_channels == 64 and slow.depth == 50
    assert not any(
        module.training
        for module in model.backbone.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    )
    sample = sample_of([[10, 4, 54, 44]], [1.0], [2], num_classes=3)
    clip = moving_bars(0).repeat(1, 3, 1, 1)  # 24 frames
    data = model.data_preprocessor(dict(inputs=[clip], data_samples=[sample]), True)
    loss = model(**data, mode='loss')['loss_action_cls']
    assert loss.isfinite()


def frames_seen(features, clip: torch.Tensor) -> list[int]:
    """The frames that a map depends on."""
    clip = clip.clone().requires_grad_()
    features(clip).sum().backward()
    return torch.nonzero(clip.grad.abs().sum((0, 1, 3, 4))).flatten().tolist()


@pytest.mark.parametrize(
    ('pair', 'length', 'step'),
    [('synthetic_a', 8, 2), pytest.param(PAIRS[1], 24, 4, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize('name', DETECTORS[:2])
def test_slow_pathways_see_every_so_many_frames_and_the_key_frame(name, pair, length, step):
    model = build(f'{pair}/{name}').eval()
    pipeline = Config.fromfile(CONFIGS / f'{pair}/{name}.py').test_dataloader.dataset.pipeline
    assert pipeline[0].clip_len == length
    clip = torch.randn(1, 3, length, 32, 32)
    expected = list(range(0, length, step))
    assert length // 2 in expected  # where SampleKeyFrameClip puts the key frame
    if name == 'slowonly':
        assert frames_seen(model.backbone.conv1, clip) == expected
        model = build(f'{pair}/{name}', **{'model.backbone.conv1_stride_t': 1}).eval()
        sampled = build(f'{pair}/{name}').eval()
        with torch.no_grad():  # MMAction2's own way: the pipeline samples
            torch.testing.assert_close(sampled.backbone(clip), model.backbone(clip[:, :, ::step]))
    else:
        slow, fast = model.backbone(clip)
        assert (slow.shape[2], fast.shape[2]) == (length // step, length)
        seen = []
        model.backbone.slow_path.conv1.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        model.backbone(clip)
        torch.testing.assert_close(seen[0], clip[:, :, ::step])


@pytest.mark.slow
def test_the_loss_leaves_negatives_out_as_the_sampler_does():
    """``neg_pos_ub=0`` spares what upstream's loss drops: the same loss, gradients and all."""
    gradients = []
    for bound in (0, -1):
        changes = {
            'model.train_cfg.rcnn.sampler.neg_pos_ub': bound,
            'model.roi_head.bbox_head.dropout_ratio': 0.0,
        }
        model = build('synthetic_a/slowonly', **changes).train()
        # a loose positive (IoU 0.8) and two negatives
        boxes = [[10, 4, 54, 44], [10, 4, 54, 36], [0, 0, 12, 12], [50, 30, 63, 47]]
        sample = sample_of(boxes, [0.9, 0.8, 0.3, 0.2], [1])
        batch = dict(inputs=[moving_bars(1)], data_samples=[sample])
        seen = []
        model.roi_head.bbox_head.register_forward_hook(
            lambda *args, seen=seen: seen.append(len(args[2]))
        )
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        losses['loss_action_cls'].backward()
        assert seen == [{0: 3, -1: 5}[bound]]  # with the labelled box, which is added
        gradients.append(model.backbone.conv1.conv.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
@pytest.mark.parametrize('name', [f'{name}{kind}' for name in DETECTORS for kind in ('', '_gt')])
@pytest.mark.parametrize('pair', ALL_PAIRS)
def test_rows_are_scored_as_our_detector_is(pair, name):
    ours = Config.fromfile(CONFIGS / f'{pair}/source_only.py')
    row = Config.fromfile(CONFIGS / f'{pair}/{name}.py')
    assert len((CONFIGS / f'{pair}/{name}.py').read_text().splitlines()) <= 4
    for stage in ('val', 'test'):
        assert row[f'{stage}_evaluator'] == ours[f'{stage}_evaluator']
    for loader in ('train', 'val', 'test'):
        expected, part = (config[f'{loader}_dataloader'].dataset for config in (ours, row))
        if loader == 'train':
            assert expected.train_on == part.train_on == 'source'
            expected, part = expected.source, part.source
        file = 'ground_truth' if name.endswith('_gt') else f'data/proposals/{pair}.npz'
        assert part.proposals == file
        datasets = [
            {k: v for k, v in dataset.items() if k not in ('proposals', 'pipeline')}
            for dataset in (expected, part)
        ]
        assert datasets[0] == datasets[1]
        stages = [[s for s in data.pipeline[1:]] for data in (expected, part)]
        assert stages[0] == stages[1]  # the clip may be longer
    assert row.test_dataloader.batch_size == row.val_dataloader.batch_size == 1
    assert row.train_cfg == ours.train_cfg and row.optim_wrapper == ours.optim_wrapper
