"""Padding says nothing about an image: a clip is the same to a model, however it is padded."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mmstal_da.engine.hooks import LabelFreeViewsHook
from mmstal_da.engine.monitor.measures import predict_boxes
from mmstal_da.evaluation.domain_gap.features import batch_features
from mmstal_da.models.adaptation.discriminators import SpatialDiscriminator
from mmstal_da.models.adaptation.functional import domain_accuracy
from mmstal_da.models.backbones.inception_i3d import InceptionI3D
from mmstal_da.models.layers.batch_layout import BatchLayout, extend_edges, sees_padding
from tests.model_builders import build_detector, collate, losses_of, module_configs, packed

FROZEN = {
    f'{part}.norm_eval': True for part in ('backbone', 'clip_backbone', 'roi_head.shared_head')
}
NO_DROPOUT = copy.deepcopy(module_configs())
for module in NO_DROPOUT.values():
    module.update({'dropout': 0.0} if 'dropout' in module else {})
CLOSE = dict(rtol=1e-4, atol=2e-5)


def roused(detector: nn.Module) -> nn.Module:
    """Norms as a trained network has them: a dark image is not zero behind them."""
    generator = torch.Generator().manual_seed(1)
    for module in detector.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.0), (module.bias.data, 0.1, 0.5),
                (module.running_mean, -0.2, 0.2), (module.running_var, 0.8, 1.2),
            ):  # fmt: skip
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
            if hasattr(module, 'target_running_mean'):
                module.target_running_mean.copy_(module.running_mean)
                module.target_running_var.copy_(module.running_var)
    return detector


def batch(*sizes: tuple[int, int], target: int = 1) -> dict:
    """Clips of these sizes, the last ``target`` of the target; contents are by place."""
    items = []
    for number, size in enumerate(sizes):
        rng = np.random.default_rng([*size, number])
        items.append(packed(rng, size=size, labels=number < len(sizes) - target))
    split = len(items) - target
    parts = dict(source=collate(items[:split]), target=collate(items[split:]))
    return parts if target else parts['source']


def padded_to(detector: nn.Module, divisor: int) -> nn.Module:
    detector.data_preprocessor.pad_size_divisor = divisor
    return detector


def maps(detector: nn.Module, clips: dict) -> tuple[torch.Tensor, torch.Tensor]:
    data = detector.data_preprocessor(clips, True)
    with torch.no_grad(), detector.layout.images(data['data_samples']):
        return detector.extract_feat(data['inputs'])


@pytest.mark.slow
@pytest.mark.parametrize('size', [(48, 64), (41, 53)])
def test_the_maps_of_an_image_do_not_depend_on_its_padding(size):
    detector = roused(build_detector(**FROZEN)).eval()
    alone = maps(detector, batch(size, target=0))
    rows, columns = (-(-length // 16) for length in size)
    for others in ([(48, 80)], [(80, 64)], [(96, 96), (32, 128)]):
        for ours, expected in zip(
            maps(detector, batch(size, *others, target=0)), alone, strict=True
        ):
            torch.testing.assert_close(ours[:1, :, :rows, :columns], expected, **CLOSE)
            assert not ours[0, :, rows:].any() and not ours[0, :, :, columns:].any()
    for ours, expected in zip(
        maps(padded_to(detector, 64), batch(size, target=0)), alone, strict=True
    ):
        torch.testing.assert_close(ours[:, :, :rows, :columns], expected, **CLOSE)


def test_padding_was_visible_before():
    """The networks alone, as upstream has them, see it: this is what the test above is about."""
    detector = roused(build_detector(**FROZEN)).eval()
    small, large = (
        detector.data_preprocessor(batch(*sizes, target=0), True)['inputs']
        for sizes in ([(48, 64)], [(48, 64), (48, 80)])
    )
    with torch.no_grad():
        for alone, beside in zip(
            detector.extract_feat(small), detector.extract_feat(large), strict=True
        ):
            assert (beside[:1, :, :3, :4] - alone).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('domain_norm', [None, 'target'])
def test_a_padded_batch_trains_as_one_without_padding(domain_norm, norm_eval):
    """All losses, accuracies, gradients and statistics: one size, padded by 64 or not at all."""
    changes = FROZEN if norm_eval else {}
    states = []
    for divisor in (16, 64):
        detector = roused(build_detector(NO_DROPOUT, domain_norm=domain_norm, **changes))
        losses = losses_of(padded_to(detector, divisor), batch(*[(48, 80)] * 4, target=2))
        numbers = {
            k: torch.as_tensor(v[0] if isinstance(v, list) else v) for k, v in losses.items()
        }
        sum(v.sum() for k, v in numbers.items() if 'loss' in k).backward()
        gradients = {n: p.grad for n, p in detector.named_parameters() if p.grad is not None}
        states.append((numbers, gradients, detector.state_dict()))
    for ours, expected in zip(*states, strict=True):
        assert ours.keys() == expected.keys()
        for key, value in expected.items():
            difference = (ours[key] - value).detach().double().norm()
            # gradients through norms on few samples, and past the kinks of ReLU and pooling,
            # magnify the rounding of float32
            assert difference <= 3e-4 + 0.01 * value.detach().double().norm(), key


@pytest.mark.slow
@pytest.mark.parametrize('pad', [(0, 48), (16, 0), (16, 48)])
def test_in_float64_i3d_and_its_gradients_are_the_same(pad):
    """Where nothing is rounded visibly: 48 x 80 pixels, and with zeros below or on the right."""
    torch.manual_seed(0)
    network = roused(InceptionI3D(width=0.1, norm_eval=True)).double().train()
    layout = BatchLayout()
    layout.cover(network)
    clip = torch.rand(2, 3, 8, 48, 80, dtype=torch.float64)
    found = []
    for height, width in ((0, 0), pad):
        full = (48 + height, 80 + width)
        samples = [
            SimpleNamespace(metainfo=dict(pad_shape=(48, 80), batch_input_shape=full)) for _ in clip
        ]
        network.zero_grad()
        with layout.images(samples):
            maps = network(nn.functional.pad(clip, (0, width, 0, height)))
        assert not maps[..., 3:, :].any() and not maps[..., 5:].any()
        maps = maps[..., :3, :5]
        (maps * torch.linspace(-1, 1, maps.numel()).view(maps.shape)).sum().backward()
        gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
        found.append({'maps': maps.detach(), **gradients})
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-9, atol=1e-12, msg=key)


def domain_evidence(detector: nn.Module, clips: dict) -> dict[str, torch.Tensor]:
    """What the discriminators say of the last image."""
    said = {}

    def note(name):
        return lambda module, inputs, output: said.update({name: output.detach()})

    hooks = [
        getattr(detector.adaptation, name).register_forward_hook(note(name))
        for name in ('spatial', 'temporal_image')
    ]
    losses_of(detector, clips)
    [hook.remove() for hook in hooks]
    rows, columns = 3, 4
    return {'spatial': said['spatial'][-1], 'timg': said['temporal_image'][-1, :, :rows, :columns]}


@pytest.mark.slow
def test_the_evidence_about_the_target_does_not_depend_on_the_source_s_shape():
    """The failure: beside a wider source, D_S saw a quarter of the target as padding."""
    detector = roused(build_detector(NO_DROPOUT, **FROZEN))
    detector.adaptation.spatial.eval()
    alone = domain_evidence(detector, batch((48, 64), (48, 64)))
    for source in ((48, 96), (96, 64), (41, 77)):
        beside = domain_evidence(detector, batch(source, (48, 64)))
        for key, value in alone.items():
            torch.testing.assert_close(beside[key], value, **CLOSE)


def test_equal_contents_rank_at_random_whatever_their_padding():
    """Nothing but padding differs: D_S, trained to tell the images by it, stays at chance.

    Each image is there twice, at one padding and at another, so equal evidence is equal logits.
    """
    torch.manual_seed(0)
    images = torch.randn(8, 12, 3, 4).abs()
    wide = torch.zeros(8, 12, 3, 6)
    wide[..., :4] = images
    wide[..., 4:] = torch.randn(8, 12, 3, 2)  # whatever a network leaves there
    joint, extents = torch.cat([images.new_zeros(8, 12, 3, 6), wide]), ((3, 4),) * 16
    joint[:8, ..., :4] = images
    net = SpatialDiscriminator(12, (8, 6), dropout=0.0)
    expected = net(torch.cat([images, images]))  # joint statistics of the contents alone
    logits = net(joint, extents)
    torch.testing.assert_close(logits, expected, **CLOSE)
    torch.testing.assert_close(logits[:8], logits[8:], **CLOSE)


def test_d_s_on_ragged_maps_is_d_s_on_each():
    """Eval mode, so that an image can be looked at alone; odd sizes, where strides round up."""
    torch.manual_seed(0)
    net = roused(SpatialDiscriminator(12, (8, 6, 5), dropout=0.5)).eval()
    extents = ((5, 7), (3, 9), (6, 2), (6, 9))
    x = torch.randn(4, 12, 6, 9)
    logits = net(x, extents)
    for image, (rows, columns), logit in zip(x, extents, logits, strict=True):
        torch.testing.assert_close(net(image[None, :, :rows, :columns])[0], logit, **CLOSE)


def test_statistics_of_a_frozen_layer_are_of_the_images():
    """The failure: a quarter of zeros in the target took its variance from 1 to 0.864."""
    from mmstal_da.models.layers.domain_batch_norm import channel_statistics

    torch.manual_seed(0)
    x = torch.randn(6, 3, 2, 40, 40) + torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1)
    extents = ((40, 30),) * 3 + ((20, 40),) * 3
    x[:3, ..., 30:] = 0
    x[3:, :, :, 20:] = 0
    mean, var = channel_statistics(x, extents)
    cells = np.concatenate(
        [
            image[:, :, :r, :c].reshape(3, -1)
            for image, (r, c) in zip(x.numpy(), extents, strict=True)
        ],
        1,
    )
    np.testing.assert_allclose(mean, cells.mean(1), atol=1e-5)
    np.testing.assert_allclose(var, cells.var(1), rtol=1e-4)
    assert channel_statistics(x)[1][1] < 0.9 + mean[1] ** 2 / 4


@pytest.mark.slow
def test_detections_do_not_depend_on_what_is_beside_them():
    detector = roused(build_detector(**FROZEN, **{'test_cfg.rcnn.score_thr': 0.0})).eval()

    def found(*sizes):
        with torch.no_grad():
            data = detector.data_preprocessor(batch(*sizes, target=0), False)
            return detector(**data, mode='predict')[0].pred_instances

    alone = found((48, 64))
    assert len(alone) > 3
    for others in ([(48, 96)], [(96, 64), (48, 48)]):
        beside = found((48, 64), *others)
        torch.testing.assert_close(beside.bboxes, alone.bboxes, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(beside.scores, alone.scores, **CLOSE)


def test_no_anchor_on_padding_is_trained():
    """Of a 48x32 image beside a 48x96 one, anchors of two columns count."""
    detector = build_detector(NO_DROPOUT, **FROZEN)
    data = detector.data_preprocessor(batch((48, 32), (48, 96)), True)
    assert data['data_samples'][0].pad_shape == (48, 32)
    flags = detector.rpn_head.prior_generator.valid_flags(
        [(3, 6)], data['data_samples'][0].pad_shape, 'cpu'
    )
    assert flags[0].reshape(3, 6, -1).any(-1).tolist() == [[True] * 2 + [False] * 4] * 3


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('extents', [((3, 4), (3, 4)), ((3, 4), (2, 5))])
def test_a_covered_norm_is_the_norm_of_the_images_cells(training, extents):
    torch.manual_seed(0)
    norm, twin = (roused(nn.Sequential(nn.BatchNorm3d(4))).train(training) for _ in range(2))
    layout = BatchLayout()
    layout.cover(norm)
    layout.cover(norm)  # once is enough
    x = torch.randn(2, 4, 3, 4, 6).contiguous(memory_format=torch.channels_last_3d)
    x.requires_grad_()
    with layout._changed(sizes=tuple((16 * r, 16 * c) for r, c in extents), full=(64, 96)):
        y = norm(x)
    assert y.shape == x.shape
    parts = [image[..., :r, :c] for image, (r, c) in zip(x, extents, strict=True)]
    cells = torch.cat([part.reshape(4, -1) for part in parts], 1)
    expected = twin(cells[None, :, :, None, None])[0, :, :, 0, 0]
    ours = [image[..., :r, :c].reshape(4, -1) for image, (r, c) in zip(y, extents, strict=True)]
    torch.testing.assert_close(torch.cat(ours, 1), expected)
    assert y.detach().count_nonzero() == expected.count_nonzero()
    torch.testing.assert_close(norm[0].running_var, twin[0].running_var)
    weights = torch.randn_like(expected)
    (ours_grad,) = torch.autograd.grad((torch.cat(ours, 1) * weights).sum(), x, retain_graph=True)
    (grad,) = torch.autograd.grad((expected * weights).sum(), x)
    torch.testing.assert_close(ours_grad, grad)
    assert norm(x.detach()).shape == x.shape  # without padding it is the plain layer


def test_accuracies_leave_padding_out():
    logits = torch.tensor([[[[-1.0, -1.0, 5.0]]], [[[1.0, -1.0, 5.0]]]])
    mask = torch.tensor([[[[True, True, False]]], [[[True, True, False]]]])
    accuracy = domain_accuracy(logits, torch.tensor([0, 1]), mask=mask)
    assert accuracy['source'] == 1.0 and accuracy['target'] == 0.5


def test_edges_go_on_beyond_the_image_for_roi_align():
    x = torch.arange(24.0).reshape(1, 1, 4, 6).repeat(2, 1, 1, 1)
    y = extend_edges(x, ((2, 3), (4, 6)))
    assert torch.equal(y[1], x[1])
    assert torch.equal(y[0, 0], torch.tensor([[0.0, 1, 2, 2, 2, 2]] + [[6.0, 7, 8, 8, 8, 8]] * 3))


def test_a_network_that_sees_padding_is_named():
    detector = build_detector(NO_DROPOUT, **FROZEN)
    assert sees_padding(detector.backbone) is None and sees_padding(detector.clip_backbone) is None
    detector.backbone.norm1 = detector.backbone.bn1
    detector.backbone.add_module('bn1', nn.GroupNorm(2, 8))
    with pytest.raises(
        RuntimeError, match=r'model\.backbone, a ResNet, sees padding \(bn1 is a Gr'
    ):
        losses_of(detector, batch((48, 64), (48, 96)))
    assert 'loss_da_spatial' in losses_of(detector, batch((48, 64), (48, 64)))


# --- what only watches


def watched(detector: nn.Module, clips: dict) -> tuple:
    """Of the first clip: views, features for the domain gap, what the monitor predicts."""
    hook = LabelFreeViewsHook(0.3)
    hook.before_val_epoch(SimpleNamespace(model=detector))
    with torch.no_grad():
        sample = detector.val_step(clips)[0]
        data = detector.data_preprocessor(clips, False)
        samples = data['data_samples']
        features = batch_features(detector, data['inputs'], samples, 4)
        with detector.layout.images(samples):
            _, temporal = detector.extract_feat(data['inputs'])
    box = torch.tensor([[20.0, 10, 53, 41]])  # to the image's end
    probabilities, _ = predict_boxes(detector.roi_head, temporal, [box] * len(samples), samples)
    candidates, views = sample.candidates, sample.dropout_instances
    return (
        candidates.bboxes, candidates.scores, views.bboxes, views.scores,
        *(rows[:1] for rows in features.values()), probabilities[:1],
    )  # fmt: skip


@pytest.mark.slow
def test_neither_hooks_nor_the_domain_gap_see_padding():
    """An image whose size is no multiple of the stride, alone and beside a larger one."""
    changes = {**FROZEN, 'test_cfg.rcnn.score_thr': 0.0, 'test_cfg.rpn.max_per_img': 12}
    detector = roused(build_detector(**changes)).eval()
    alone = watched(detector, batch((41, 53), target=0))
    for others in ([(48, 80)], [(96, 96), (32, 128)]):
        beside = watched(detector, batch((41, 53), *others, target=0))
        for ours, expected in zip(beside, alone, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
