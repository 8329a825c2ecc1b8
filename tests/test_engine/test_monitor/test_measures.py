"""Measures of a step: against equations in NumPy, and against a backward pass by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmstal_da.engine.monitor.measures import (
    class_entropy,
    class_mass,
    diversity,
    evaluating,
    predict_boxes,
)
from mmstal_da.models.adaptation.functional import domain_bce, grad_reverse
from mmstal_da.models.adaptation.gradients import gradient_norm, gradient_shares
from tests.model_builders import build_detector, dual_batch, losses_of, module_configs


def test_the_share_of_a_linear_discriminator_is_that_of_its_equation():
    """d/dF of (a/2)|F|^2 is aF; of a linear discriminator's loss, (p - d) w / n, reversed."""
    rng = np.random.default_rng(0)
    features, w, a, weight = rng.normal(size=(4, 5)), rng.normal(size=5), 0.7, 0.3
    domains = np.array([0, 0, 1, 1])
    feature_map = torch.tensor(features, requires_grad=True)
    logits = grad_reverse(feature_map, weight) @ torch.tensor(w)
    losses = {
        'loss_cls': (a / 2 * feature_map.square().sum()) / 2,
        'loss_rpn_cls': [a / 8 * feature_map.square().sum()] * 2,  # one per level
        'acc': torch.tensor(5.0),  # no loss
        'loss_da_timg': domain_bce(logits, torch.tensor(domains)),
    }
    p = 1 / (1 + np.exp(-features @ w))
    expected = (
        weight * np.linalg.norm((p - domains)[:, None] * w / 2) / np.linalg.norm(a * features)
    )
    (share,) = gradient_shares(losses, {'timg': ('TF1', feature_map)}).items()
    assert share == ('timg_TF1', pytest.approx(expected, rel=1e-6))
    assert feature_map.grad is None


def test_what_cannot_be_measured_is_left_out():
    leaf, other = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    loss = leaf.square().sum()
    assert gradient_norm(loss, leaf) == pytest.approx(2 * 3**0.5)
    assert gradient_norm(loss, other) is None
    assert gradient_norm(loss, torch.ones(3)) is None
    assert gradient_norm(torch.tensor(1.0), leaf) is None
    losses = {'loss_cls': other.sum(), 'loss_da_spatial': loss}
    assert gradient_shares(losses, {'spatial': ('SF', leaf)}) == {}  # the detection is not there


def test_gradients_too_small_for_float16_are_measured_with_its_loss_scale():
    leaf = torch.ones(4, dtype=torch.float16, requires_grad=True)
    loss = (leaf.float() * 1e-8).sum()  # float16 ends at 6e-8
    assert gradient_norm(loss, leaf) == 0
    assert gradient_norm(loss, leaf, 2.0**16) == pytest.approx(2e-8, rel=1e-3)


def backward_norms(detector, batch, keys) -> dict[str, float]:
    """Norms of gradients that ``backward`` leaves at SF and TF1, with ``retain_grad``."""
    maps = {}

    def keep(losses, found, samples, proposals):
        maps.update(found)
        for feature_map in found.values():
            feature_map.retain_grad()

    detector.observer = keep
    losses = losses_of(detector, batch)
    detector.observer = None
    parts = [losses[key] for key in keys]
    sum(sum(part) if isinstance(part, list) else part for part in parts).backward()
    norms = {k: 0.0 if v.grad is None else v.grad.norm().item() for k, v in maps.items()}
    detector.zero_grad()
    return norms


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['loss_weight', 'grl_coefficient'])
def test_shares_of_the_detector_are_those_of_backward(mode):
    detector = build_detector(dict(lambda_mode=mode, weight=0.3, **module_configs()))
    detection = ['loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox']
    task = backward_norms(detector, dual_batch(), detection)
    expected = {}
    for name, place in (('spatial', 'SF'), ('timg', 'TF1'), ('tinst', 'TF1')):
        reverse = backward_norms(detector, dual_batch(), [f'loss_da_{name}'])
        expected[f'{name}_{place}'] = reverse[place] / task[place]
        (other,) = {'SF', 'TF1'} - {place}
        assert reverse[other] == 0
    found = {}

    def measure(losses, maps, samples, proposals):
        places = {'spatial': 'SF', 'timg': 'TF1', 'tinst': 'TF1'}
        found.update(gradient_shares(losses, {k: (v, maps[v]) for k, v in places.items()}))

    detector.observer = measure
    losses_of(detector, dual_batch())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-5) and value > 0, key


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 5))
def test_entropy_and_diversity_are_those_of_numpy(seed, boxes, classes):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes + 1, 0.3), boxes)
    action = p[:, :-1]
    weight = action.sum(1)
    conditional = action / weight[:, None]
    with np.errstate(divide='ignore', invalid='ignore'):
        entropies = -np.nan_to_num(conditional * np.log(conditional)).sum(1)
    expected = (weight @ entropies) / weight.sum() / np.log(classes)
    assert class_entropy(torch.tensor(p)) == pytest.approx(expected, abs=1e-9)
    shares = action.sum(0) / action.sum()
    with np.errstate(divide='ignore', invalid='ignore'):
        expected = -np.nan_to_num(shares * np.log(shares)).sum() / np.log(classes)
    assert diversity(class_mass(torch.tensor(p))) == pytest.approx(expected, abs=1e-9)


def test_entropy_at_its_limits():
    even = torch.tensor([[0.1, 0.1, 0.1, 0.7]])
    assert class_entropy(even) == pytest.approx(1) == diversity(class_mass(even))
    sure = torch.tensor([[0.4, 0.0, 0.0, 0.6], [0.0, 0.0, 0.3, 0.7]])
    assert class_entropy(sure) == 0 and 0 < diversity(class_mass(sure)) < 1
    assert diversity(class_mass(sure[:1])) == 0
    nothing = torch.tensor([[0.0, 0.0, 1.0]])
    assert class_entropy(nothing) == diversity(class_mass(nothing)) == 0


def test_predictions_are_those_of_the_test_and_leave_the_head_as_it_was():
    detector = build_detector(**{'test_cfg.rcnn.score_thr': 0.0})
    data = detector.data_preprocessor(dual_batch(), True)
    _, temporal = detector.extract_feat(data['inputs'])
    boxes = torch.tensor([[2.0, 3, 30, 40], [10, 5, 50, 45]])
    proposals = [boxes, boxes[:1], boxes[:0], boxes + 3]
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    probabilities, scores = predict_boxes(
        detector.roi_head, temporal, proposals, data['data_samples']
    )
    for key, value in detector.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(module.training for module in detector.roi_head.modules())
    assert probabilities.shape == (5, 4) and [len(s) > 0 for s in scores] == [1, 1, 0, 1]
    torch.testing.assert_close(probabilities.sum(1), torch.ones(5))
    detector.eval()
    feats, _ = detector.roi_head.instance_features((temporal,), proposals)
    logits = torch.nn.functional.linear(feats, *detector.roi_head.bbox_head.fc_cls.parameters())
    torch.testing.assert_close(probabilities, logits.softmax(1))
    empty, scores = predict_boxes(
        detector.roi_head, temporal, [boxes[:0]] * 4, data['data_samples']
    )
    assert empty.shape == (0, 4) and scores == []


def test_eval_mode_ends_with_the_context_also_after_an_error():
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2))
    net[1].eval()  # kept by somebody
    with pytest.raises(RuntimeError), evaluating(net):
        assert not net.training and not net[0].training
        raise RuntimeError
    assert net.training and net[0].training and not net[1].training
