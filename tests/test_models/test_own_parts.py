"""Parts of one's own: adaptation types, detectors, discriminators of another registry."""

import importlib

import mmaction.registry
import mmdet.registry
import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from mmstal_da.errors import ConfigError
from mmstal_da.models.adaptation import DomainAdaptation
from mmstal_da.models.adaptation.functional import grad_reverse
from mmstal_da.models.detectors import DomainAdaptiveDetector
from mmstal_da.registry import MODELS
from tests.model_builders import build_detector, dual_batch, losses_of, module_configs, plain_batch

DETECTION = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox'}


class MeanDistance(DomainAdaptation):
    """The distance between the domains' mean TF1, beside the modules of the base class."""

    def __init__(self, power: int = 2, **kwargs) -> None:
        super().__init__(**kwargs)
        self.power = power

    def forward(self, spatial, temporal, domains, *args) -> dict:
        out = super().forward(spatial, temporal, domains, *args)
        features = grad_reverse(temporal, self.coefficient).mean((2, 3))
        source, target = (features[domains == d].mean(0) for d in (0, 1))
        out['loss_da_distance'] = self.scale * (source - target).abs().pow(self.power).sum()
        return out


class Alone(BaseModule):
    """Lacks what the detector asks an adaptation for."""


@pytest.fixture
def registered(request):
    """Register the classes that a test names, and forget them afterwards."""
    before = [(node, dict(node._module_dict)) for node in (
        MODELS, mmaction.registry.MODELS, mmdet.registry.MODELS)]  # fmt: skip

    def register(kind: type, registry=MODELS) -> None:
        registry.register_module(module=kind)

    yield register
    for node, classes in before:
        node._module_dict.clear()
        node._module_dict.update(classes)


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['loss_weight', 'grl_coefficient'])
def test_an_adaptation_of_ones_own_with_and_without_the_modules(registered, mode):
    registered(MeanDistance)
    own = dict(type='MeanDistance', power=1, lambda_mode=mode)
    alone = build_detector(own)
    assert isinstance(alone.adaptation, MeanDistance) and alone.adaptation.power == 1
    losses = losses_of(alone, dual_batch())
    assert {key for key in losses if key.startswith('loss_da')} == {'loss_da_distance'}

    beside = build_detector({**own, **module_configs()})
    assert beside.adaptation.temporal_image.conv1.in_channels == 84  # filled in
    usual = losses_of(build_detector(dict(lambda_mode=mode, **module_configs())), dual_batch())
    losses = losses_of(beside, dual_batch())
    for key in usual:
        assert torch.equal(torch.as_tensor(losses[key]), torch.as_tensor(usual[key])), key
    # lambda weighs the loss, or the reversed gradient, as it does for the modules
    gradients, values = [], []
    for weight in (0.1, 0.2):
        beside.adaptation.weight = weight
        loss = losses_of(beside, dual_batch())['loss_da_distance']
        beside.zero_grad()
        loss.backward()
        values.append(loss.item())
        gradients.append(beside.clip_backbone.Mixed_3b.b0.conv3d.weight.grad.norm().item())
    assert gradients[1] == pytest.approx(2 * gradients[0], rel=1e-3)
    assert values[1] == pytest.approx((2 if mode == 'loss_weight' else 1) * values[0], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('adaptation', 'message'),
    [
        (dict(type='Alone'), r"adaptation.type: Alone lacks .*\['needs_instances', 'num_prop"),
        (dict(type='Absent'), "model.adaptation.type: there is no class 'Absent'; register it"),
        (
            dict(spatial=dict(type='Absent', loss=dict(type='DomainBCELoss'))),
            "model.adaptation.spatial.type: there is no class 'Absent'.*mmaction.registry.MODELS.*"
            'custom_imports',
        ),
        (
            dict(spatial=dict(type='SpatialDiscriminator', loss=dict(type='Absent'))),
            "model.adaptation.spatial.loss.type: there is no class 'Absent'",
        ),
    ],
)
def test_an_adaptation_that_cannot_be_is_an_error_that_says_what_to_do(
    registered, adaptation, message
):
    registered(Alone)
    with pytest.raises(ConfigError, match=message):
        build_detector(adaptation)


class CellDiscriminator(nn.Module):
    """One linear layer on every cell."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 1, 1)

    def forward(self, feat: torch.Tensor) -> torch.Tensor:
        return self.conv(feat)


@pytest.mark.slow
@pytest.mark.parametrize('registry', [MODELS, mmaction.registry.MODELS, mmdet.registry.MODELS])
def test_a_discriminator_is_found_in_each_of_the_registries(registered, registry):
    registered(CellDiscriminator, registry)
    own = dict(type='CellDiscriminator', loss=dict(type='DomainBCELoss'))
    detector = build_detector(dict(temporal_image=own))
    assert type(detector.adaptation.temporal_image) is CellDiscriminator
    losses_of(detector, dual_batch())['loss_da_timg'].backward()
    assert detector.adaptation.temporal_image.conv.weight.grad.any()


def test_a_name_that_several_registries_have_needs_its_prefix(registered):
    importlib.import_module('mmaction.models')  # other tests may not have done so
    assert MODELS.get('ResNet') is None  # both libraries have one
    assert MODELS.get('mmdet.ResNet') is not MODELS.get('mmaction.ResNet')
    registered(CellDiscriminator, mmdet.registry.MODELS)
    assert MODELS.get('CellDiscriminator') is CellDiscriminator
    registered(CellDiscriminator, mmaction.registry.MODELS)
    assert MODELS.get('CellDiscriminator') is None
    assert MODELS.get('tests.test_models.test_own_parts.CellDiscriminator').__name__ == (
        'CellDiscriminator'
    )


class OwnDetector(DomainAdaptiveDetector):
    """Mirrors and doubles TF1, halves the box loss and adds a loss and a number for the log."""

    def temporal_features(self, clip, spatial):
        return 2 * super().temporal_features(clip, spatial).flip(-1)

    def further_losses(self, step):
        self.step = step
        return dict(
            loss_bbox=0.5 * step.losses['loss_bbox'],
            loss_own=step.spatial.square().mean() + step.temporal.square().mean(),
            cells=step.temporal.new_tensor(step.temporal[0, 0].numel()),
        )


@pytest.mark.slow
@pytest.mark.parametrize('adapts', [True, False])
def test_a_detector_of_ones_own_finds_features_and_losses(registered, adapts):
    registered(OwnDetector)
    adaptation = module_configs() if adapts else None
    batch = dual_batch() if adapts else plain_batch()
    changes = {'type': 'OwnDetector', 'backbone.norm_eval': True, 'clip_backbone.norm_eval': True}
    own = build_detector(adaptation, **changes)
    plain = build_detector(adaptation, **{**changes, 'type': 'DomainAdaptiveDetector'})
    losses, expected = losses_of(own, batch), losses_of(plain, batch)
    step = own.step
    assert step.num_source == 2 and len(step.samples) == (4 if adapts else 2)
    assert step.inputs['clip'].shape[0] == step.spatial.shape[0] == len(step.proposals)
    assert all(boxes.shape[1] == 4 and not boxes.requires_grad for boxes in step.proposals)
    assert step.losses.keys() == expected.keys()
    assert losses.keys() == expected.keys() | {'loss_own', 'cells'}
    # TF1 is changed for all that read it, and nothing else is
    for key in ('loss_rpn_cls', 'loss_rpn_bbox'):
        assert losses[key] == expected[key], key
    assert losses['loss_cls'] != expected['loss_cls']
    if adapts:
        assert losses['loss_da_timg'] != expected['loss_da_timg']
    torch.testing.assert_close(losses['loss_bbox'], 0.5 * step.losses['loss_bbox'])
    # the total is what is minimised; a name without "loss" is only logged
    total, logged = own.parse_losses(losses)
    parts = [sum(v) if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k]
    torch.testing.assert_close(total, sum(part.sum() for part in parts))
    assert logged['cells'] == 12
    losses['loss_own'].backward()
    for network in (own.backbone.layer3, own.clip_backbone.Mixed_4f):
        assert any(p.grad is not None and p.grad.any() for p in network.parameters())


def test_the_features_of_a_detector_of_ones_own_are_those_of_prediction_too(registered):
    registered(OwnDetector)
    own = build_detector(type='OwnDetector').eval()
    inputs = own.data_preprocessor(plain_batch(), False)['inputs']
    with torch.no_grad():
        _, temporal = own.extract_feat(inputs)
        expected = 2 * own.clip_backbone(inputs['clip']).mean(2).flip(-1)
        torch.testing.assert_close(temporal, expected)
