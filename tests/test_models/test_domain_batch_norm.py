"""Per-domain statistics: two batch norms that share scale and bias."""

import numpy as np
import pytest
import torch
from torch import nn

from mmstal_da.models.layers.domain_batch_norm import DomainNorm, convert
from tests.model_builders import build_detector, dual_batch, losses_of, module_configs, plain_batch


def converted(layer: nn.Module) -> tuple[nn.Module, DomainNorm]:
    norm = DomainNorm('target')
    net = nn.Sequential(layer)
    assert convert(net, norm) == 1
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


def test_a_frozen_layer_follows_the_target_alone():
    torch.manual_seed(0)
    net, norm = converted(nn.BatchNorm2d(4, momentum=0.25))
    net.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = 3 + 2 * torch.randn(5, 4, 6, 7)
    with norm.joint(2):
        net(x)
    state = net.state_dict()
    target = x[2:].numpy()
    np.testing.assert_allclose(
        state['0.target_running_mean'], 0.25 * target.mean((0, 2, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(
        state['0.target_running_var'], 0.75 + 0.25 * target.var((0, 2, 3)), rtol=1e-5
    )
    assert torch.equal(state['0.running_mean'], before['0.running_mean'])
    after = {key: value.clone() for key, value in state.items()}
    net(x)  # inference leaves everything as it is
    assert all(torch.equal(after[key], value) for key, value in net.state_dict().items())


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


def test_no_target_in_the_batch_is_refused():
    with pytest.raises(ValueError, match='domain_norm=None'):
        losses_of(build_detector(domain_norm='target'), plain_batch())
    with pytest.raises(ValueError, match="not 'both'"):
        build_detector(domain_norm='both')


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
