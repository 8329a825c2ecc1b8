"""Per-domain statistics: two batch norms that share scale and bias."""

import numpy as np
import pytest
import torch
from torch import nn

from mmstal_da.models.layers.domain_batch_norm import (
    DomainNorm,
    channel_statistics,
    convert_batch_norm,
)
from tests.model_builders import build_detector, dual_batch, losses_of, module_configs, plain_batch


def converted(layer: nn.Module) -> tuple[nn.Module, DomainNorm]:
    norm = DomainNorm('target')
    net = nn.Sequential(layer)
    assert convert_batch_norm(net, norm) == 1
    return net, norm


@pytest.mark.parametrize(
    ('kind', 'shape'), [(nn.BatchNorm2d, (6, 5, 4, 3)), (nn.BatchNorm3d, (6, 5, 2, 4, 3))]
)
def test_training_is_a_batch_norm_per_domain(kind, shape):
    torch.manual_seed(0)
    layer = kind(5, momentum=0.3)
    nn.init.uniform_(layer.weight)
    nn.init.uniform_(layer.bias)
    twins = {}
    for domain in ('source', 'target'):
        twins[domain] = kind(5, momentum=0.3)
        twins[domain].load_state_dict(layer.state_dict())
    net, norm = converted(layer)
    for _ in range(3):
        x = torch.randn(shape) * torch.arange(1, 7).view(-1, *[1] * (len(shape) - 1))
        with norm.joint(2):
            y = net(x)
        expected = torch.cat([twins['source'](x[:2]), twins['target'](x[2:])])
        assert torch.equal(y, expected)
    net.eval()
    [t.eval() for t in twins.values()]
    x = torch.randn(shape)
    assert torch.equal(net(x), twins['target'](x))  # inference
    norm.test_domain = 'source'
    assert torch.equal(net(x), twins['source'](x))


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_channel_statistics(layout, dtype):
    torch.manual_seed(0)
    x = 3 * torch.randn(2, 5, 3, 4, 7) + 20 * torch.arange(5).view(5, 1, 1, 1)
    x[:, 0] = 7  # a channel that never varies
    x = x.to(dtype).contiguous(memory_format=layout)
    mean, var = channel_statistics(x)
    exact = x.double().numpy()
    assert mean.dtype == var.dtype == torch.float32
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3, 4)), rtol=1e-6)
    np.testing.assert_allclose(var, exact.var((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    assert var.min() >= 0


def test_a_frozen_layer_takes_the_target_for_the_source():
    """Its target is normalised as if it had the source's mean and variance first."""
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(4)
    nn.init.uniform_(layer.weight)
    layer.running_mean.normal_()
    layer.running_var.uniform_(1, 3)
    frozen = {key: value.clone() for key, value in layer.state_dict().items()}
    plain = nn.BatchNorm2d(4)
    plain.load_state_dict(frozen)
    plain.eval()
    net, norm = converted(layer)
    net.eval()
    source = torch.randn(3, 4, 6, 7) + torch.arange(4).view(4, 1, 1)
    target = 5 * torch.randn(4, 4, 6, 7) - 2
    for _ in range(500):  # of one batch: what is followed has arrived
        with norm.joint(3):
            y = net(torch.cat([source, target]))
    assert torch.equal(y[:3], plain(source))  # the source as ever
    axes, keep = (0, 2, 3), dict(correction=0, keepdim=True)
    (var_s, mean_s), (var_t, mean_t) = (torch.var_mean(x, axes, **keep) for x in (source, target))
    like_source = (target - mean_t) * (var_s / var_t).sqrt() + mean_s
    torch.testing.assert_close(y[3:], plain(like_source), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(net.state_dict()[f'0.{key}'], value) for key, value in frozen.items())


def test_a_frozen_layer_follows_batches_of_both_domains_alone():
    torch.manual_seed(0)
    net, norm = converted(nn.BatchNorm2d(4))
    net.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = 3 + 2 * torch.randn(5, 4, 6, 7)
    net(x)  # inference
    for num_source in (0, 5):
        with norm.joint(num_source):
            net(x)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    with norm.joint(2):
        net(x)
    state = net.state_dict()
    for name, part in (('source', x[:2].numpy()), ('target', x[2:].numpy())):
        mean, var = part.mean((0, 2, 3)), part.var((0, 2, 3))
        np.testing.assert_allclose(state[f'0.{name}_seen_mean'], 0.02 * mean, rtol=1e-5)
        np.testing.assert_allclose(state[f'0.{name}_seen_var'], 0.98 + 0.02 * var, rtol=1e-5)


def test_frozen_layers_learn_with_statistics_that_move():
    """Statistics moved between forward and backward leave the gradients alone."""
    torch.manual_seed(0)
    net, norm = converted(nn.BatchNorm2d(4))
    net.eval()
    x = torch.randn(4, 4, 3, 3)
    with norm.joint(2):
        y = net(x)
        weight = net[0].weight / (net[0].target_running_var + net[0].eps).sqrt()
        expected = (x[2:] - net[0].target_running_mean.view(4, 1, 1)) * weight.view(4, 1, 1)
        torch.testing.assert_close(y[2:], expected)
        target_var = net[0].target_running_var.clone()
        net(10 * x)
    assert not torch.equal(net[0].target_running_var, target_var)
    normed = expected[:, 0].sum() / net[0].weight[0]
    y[2:, 0].sum().backward()
    torch.testing.assert_close(net[0].weight.grad[0], normed.detach())


def test_weights_without_target_statistics_start_it_from_the_source():
    plain = nn.Sequential(nn.BatchNorm2d(3))
    plain(torch.randn(4, 3, 5, 5) * 7)
    net, _ = converted(nn.BatchNorm2d(3))
    net.load_state_dict(plain.state_dict())
    assert torch.equal(net[0].target_running_var, plain[0].running_var)
    other, _ = converted(nn.BatchNorm2d(3))
    net[0].target_running_mean.fill_(5)
    other.load_state_dict(net.state_dict())
    assert (other[0].target_running_mean == 5).all()


@pytest.mark.slow
def test_the_detector_trains_its_norms_per_domain():
    model = build_detector(module_configs(), domain_norm='target')
    losses = losses_of(model, dual_batch())
    assert all(torch.isfinite(torch.as_tensor(v)).all() for v in losses.values() if v is not None)
    means = [
        (m.running_mean, m.target_running_mean)
        for m in model.modules()
        if hasattr(m, 'target_running_mean')
    ]
    assert len(means) > 60
    assert all((target != 0).any() for _, target in means)
    assert all(not torch.equal(source, target) for source, target in means)


@pytest.mark.slow
def test_without_a_discriminator_the_target_moves_its_statistics_only():
    """Same seed, same source: the losses are those of the plain detector."""
    plain = losses_of(build_detector(), plain_batch())
    model = build_detector(domain_norm='target')
    ours = losses_of(model, dual_batch())
    assert plain.keys() == ours.keys()
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, msg=key)
    stage = model.roi_head.shared_head
    assert all(
        (m.target_running_mean != 0).any()
        and not torch.equal(m.target_running_mean, m.running_mean)
        for m in stage.modules()
        if hasattr(m, 'target_running_mean')
    )


@pytest.mark.slow
def test_a_frozen_detector_s_source_is_untouched():
    """As configs of pretrained networks have it: statistics kept in all three parts."""
    frozen = {
        f'{part}.norm_eval': True for part in ('backbone', 'clip_backbone', 'roi_head.shared_head')
    }
    plain = losses_of(build_detector(**frozen), plain_batch())
    model = build_detector(domain_norm='target', **frozen)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ours = losses_of(model, dual_batch())
    assert plain.keys() == ours.keys()
    for key, value in plain.items():
        torch.testing.assert_close(ours[key], value, msg=key)
    after = model.state_dict()
    moved = {key for key, value in after.items() if not torch.equal(before[key], value)}
    added = {key for key in after if '_seen_' in key or 'target_running' in key}
    assert moved <= added
    assert len(moved) > 0.9 * len(added)  # some narrow layers see zeros alone


@pytest.mark.slow
def test_no_target_in_the_batch_is_refused():
    with pytest.raises(ValueError, match='domain_norm=None'):
        losses_of(build_detector(domain_norm='target'), plain_batch())
    with pytest.raises(ValueError, match="not 'both'"):
        build_detector(domain_norm='both')


@pytest.mark.slow
def test_every_proposal_is_normalised_as_its_image_s_domain():
    model = build_detector(module_configs(), domain_norm='target')
    seen = []

    def note(_, inputs):
        images, rois = len(inputs[0][0]), inputs[1]
        seen.append((images, int((rois[:, 0] < 2).sum()), len(rois), model.domain_norm.num_source))

    model.roi_head.bbox_roi_extractor.register_forward_pre_hook(note)
    losses_of(model, dual_batch(n=2))
    (images, source, total, split), (joint_images, joint_source, joint_total, joint_split) = seen
    assert images == 2  # the detection losses see the source alone
    assert source == total <= split
    assert joint_images == 4
    assert 0 < joint_source == joint_split < joint_total
