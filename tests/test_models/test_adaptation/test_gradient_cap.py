"""Lambda that is capped by how strongly the detection pulls at the same features."""

import copy

import pytest
import torch

from mmstal_da.engine.hooks.finite_hook import first_not_finite
from mmstal_da.models.adaptation.domain_adaptation import NO_CAP
from mmstal_da.models.adaptation.gradients import gradient_shares
from tests.model_builders import build_detector, dual_batch, losses_of, module_configs

NAMES = ('spatial', 'timg', 'tinst')


def modules() -> dict:
    """The three, without dropout, so that a step can be repeated."""
    found = copy.deepcopy(module_configs())
    for module in found.values():
        module.update({'dropout': 0.0} if 'dropout' in module else {})
    return found


def build(**adaptation):
    frozen = {
        f'{part}.norm_eval': True for part in ('backbone', 'clip_backbone', 'roi_head.shared_head')
    }
    torch.manual_seed(1)
    return build_detector({**modules(), **adaptation}, **frozen)


def step(detector) -> tuple[dict, dict]:
    """Losses of a repeatable step, and the share of each reversed gradient in it."""
    shares = {}

    def observe(losses, maps, samples, boxes):
        places = {name: (name, maps['SF' if name == 'spatial' else 'TF1']) for name in NAMES}
        shares.update(gradient_shares(losses, places))

    detector.observer = observe
    torch.manual_seed(0)  # of the samplers
    losses = losses_of(detector, dual_batch())
    return losses, {name: shares[f'{name}_{name}'] for name in NAMES}


@pytest.mark.slow
def test_a_share_above_the_cap_is_brought_down_to_it_and_one_below_is_left():
    detector = build(lambda_mode='grl_coefficient', weight=1.0)
    _, free = step(detector)
    limit = sorted(free.values())[1]  # two at or below, one above
    capped = build(lambda_mode='gradient_cap', weight=1.0, max_share=limit, cap_interval=1)
    losses, first = step(capped)
    assert first == pytest.approx(free)  # caps act from the next step on
    assert {losses[f'da_lambda_{name}'].item() for name in NAMES} == {1.0}
    losses, second = step(capped)
    for name in NAMES:
        assert second[name] == pytest.approx(min(free[name], limit), rel=1e-3)
        expected = min(1.0, limit / free[name])
        assert losses[f'da_lambda_{name}'].item() == pytest.approx(expected, rel=1e-3)
    assert losses['da_lambda'].item() == 1.0


@pytest.mark.slow
def test_a_cap_that_is_never_reached_is_grl_coefficient():
    expected, _ = step(build(lambda_mode='grl_coefficient', weight=0.1))
    capped = build(lambda_mode='gradient_cap', weight=0.1, max_share=1e9, cap_interval=1)
    step(capped)
    losses, _ = step(capped)
    for key, value in expected.items():
        ours = losses[key]
        for a, b in zip(*(v if isinstance(v, list) else [v] for v in (ours, value)), strict=True):
            assert torch.equal(a, b), key


def test_a_discriminator_that_guesses_leaves_lambda_alone():
    detector = build(lambda_mode='gradient_cap', weight=0.1, max_share=0.5, cap_interval=1)
    for parameter in detector.adaptation.temporal_image.parameters():
        torch.nn.init.zeros_(parameter)
    losses_of(detector, dual_batch())
    assert detector.adaptation.caps[1] == NO_CAP
    assert detector.adaptation.coefficient_of('timg') == 0.1


@pytest.mark.slow
def test_caps_are_measured_every_so_many_steps_and_move_half_of_the_way():
    detector = build(lambda_mode='gradient_cap', weight=1.0, max_share=1e-3, cap_interval=3)
    caps = []
    for _ in range(5):
        losses_of(detector, dual_batch())
        caps.append(detector.adaptation.caps.clone())
    assert torch.equal(caps[0], caps[2]) and torch.equal(caps[3], caps[4])
    assert not torch.equal(caps[2], caps[3])
    adaptation = detector.adaptation
    adaptation.caps[:] = 0.5
    adaptation.steps.zero_()
    x = torch.ones(2, 3, requires_grad=True)
    losses = dict(loss_cls=(2 * x).sum(), loss_da_timg=(4 * x).sum())
    adaptation.measure_caps(losses, dict(timg=x))
    # reversed twice the detection's at lambda 0.5: a share of 1e-3 has lambda 0.5e-3 / 2
    assert adaptation.caps.tolist() == pytest.approx([0.5, (0.5 + 0.25e-3) / 2, 0.5])


def test_a_training_does_not_stop_on_caps_that_are_not_measured_yet():
    detector = build(lambda_mode='gradient_cap')
    numbers = (item for item in detector.named_buffers() if item[1].is_floating_point())
    assert first_not_finite(numbers) is None


@pytest.mark.slow
def test_a_resumed_training_has_the_same_caps():
    detector = build(lambda_mode='gradient_cap', weight=1.0, max_share=0.01, cap_interval=4)
    step(detector)
    other = build(lambda_mode='gradient_cap', weight=1.0, max_share=0.01, cap_interval=4)
    other.load_state_dict(detector.state_dict())
    assert torch.equal(other.adaptation.caps, detector.adaptation.caps)
    assert other.adaptation.steps == 1
    plain = build(lambda_mode='grl_coefficient')
    assert not any(key.endswith(('caps', 'steps')) for key in plain.state_dict())
