"""Discriminators on earlier layers of SF and TF1."""

import copy

import pytest
import torch

from tests.model_builders import build_detector, dual_batch, losses_of, module_configs, plain_batch


def tapped(**taps) -> dict:
    """The modules named, each with (layer, in_channels), or None for the usual features."""
    modules = module_configs()
    return {
        name: modules[name] | (dict(tap=tap[0], in_channels=tap[1]) if tap else {})
        for name, tap in taps.items()
    }


def da_losses(adaptation: dict, **changes) -> tuple:
    detector = build_detector(adaptation, **changes)
    losses = losses_of(detector, dual_batch())
    return detector, {key: value for key, value in losses.items() if key.startswith('loss_da')}


@pytest.mark.slow
def test_tapping_the_last_layers_is_the_default_to_the_last_bit():
    _, usual = da_losses(tapped(spatial=None, temporal_image=None))
    _, same = da_losses(tapped(spatial=('layer3', 128), temporal_image=('Mixed_4f', 84)))
    assert usual.keys() == same.keys() == {'loss_da_spatial', 'loss_da_timg'}
    for key in usual:
        assert torch.equal(usual[key], same[key]), key


@pytest.mark.slow
@pytest.mark.parametrize('copied', [False, True])
def test_an_earlier_layer_alone_gets_the_gradient(copied):
    adaptation = tapped(spatial=('layer2', 64), temporal_image=('Mixed_3c', 48))
    detector = build_detector(adaptation)
    if copied:  # as MMEngine's EMA copies a model
        detector = copy.deepcopy(detector)
    losses = losses_of(detector, dual_batch())
    (losses['loss_da_spatial'] + losses['loss_da_timg']).backward()
    for before, after in (
        (detector.backbone.layer2, detector.backbone.layer3),
        (detector.clip_backbone.Mixed_3c, detector.clip_backbone.Mixed_4b),
    ):
        assert all(p.grad is not None for p in before.parameters())
        assert any(p.grad.any() for p in before.parameters())
        assert all(p.grad is None for p in after.parameters())


@pytest.mark.slow
def test_the_clip_layer_is_averaged_over_time_and_its_padding_left_out():
    detector = build_detector(tapped(temporal_image=('Mixed_3c', 48)))
    seen = []
    detector.adaptation.register_forward_pre_hook(lambda _, args: seen.append(args))
    caught = []
    detector.clip_backbone.Mixed_3c.register_forward_hook(lambda m, i, out: caught.append(out))
    losses_of(detector, dual_batch(size=(39, 64)))
    (_, temporal, *_, extents), (layer,) = seen[0], caught
    assert layer.dim() == 5
    assert torch.equal(temporal, layer.mean(2))
    assert temporal.shape[2:] == (6, 8)  # stride 8 of 48 x 64 pixels
    assert extents == ((5, 8),) * 4 and not layer[..., 5:, :].any()


@pytest.mark.slow
def test_nothing_is_kept_of_a_prediction_or_after_a_step():
    detector = build_detector(tapped(spatial=('layer2', 64)))
    losses_of(detector, dual_batch())
    tap = detector.taps['spatial']
    assert tap._caught is None
    with torch.no_grad():
        detector.eval()(**detector.data_preprocessor(plain_batch(), False), mode='predict')
    assert tap._caught is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ('adaptation', 'message'),
    [
        (tapped(spatial=('layer9', 64)), "spatial.tap: ResNet has no layer 'layer9'; it has .*lay"),
        (tapped(temporal_image=('Mixed_9z', 8)), "InceptionI3D has no layer 'Mixed_9z'"),
        (tapped(temporal_instance=('Mixed_5b', 8)), 'temporal_instance takes no key tap'),
        (dict(spatial=dict(type='SpatialDiscriminator', tap='layer2')), 'give in_channels'),
    ],
)
def test_a_tap_that_cannot_be_is_an_error_when_built(adaptation, message):
    with pytest.raises(ValueError, match=message):
        build_detector(adaptation)


@pytest.mark.slow
def test_a_tap_on_frozen_layers_is_an_error():
    with pytest.raises(RuntimeError, match=r"spatial.tap: no gradient reaches 'layer2'.*frozen"):
        da_losses(tapped(spatial=('layer2', 64)), **{'backbone.frozen_stages': 2})
