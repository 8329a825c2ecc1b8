"""Equations 4, 5 and the focal loss against NumPy by hand; the GRL by finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstal_da.models.adaptation.functional import (
    domain_accuracy,
    domain_bce,
    domain_focal,
    grad_reverse,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def equation_4(logits, d, mean):
    """Eq. 4 word by word: loops over images and cells."""
    n_s, n_t = (d == 0).sum(), (d == 1).sum()
    total = 0.0
    for i in range(len(d)):
        q = sigmoid(logits[i])
        cells = (1 - d[i]) * np.log(1 - q) if d[i] == 0 else d[i] * np.log(q)
        inner = cells.mean() if mean else cells.sum()
        total += inner / (n_s if d[i] == 0 else n_t)
    return -total


def equation_5(logits, image_index, d, mean):
    """Eq. 5 word by word: loops over images and their proposals."""
    total = 0.0
    for i in range(len(d)):
        r = sigmoid(logits[image_index == i])
        terms = np.log(1 - r) if d[i] == 0 else np.log(r)
        if len(terms):
            total += (terms.mean() if mean else terms.sum()) / (d == d[i]).sum()
    return -total


def focal(logits, d, gamma):
    """The focal loss of the specification, by hand."""
    p = sigmoid(logits)
    source = (p**gamma * np.log(1 - p))[d == 0].sum() / (d == 0).sum()
    target = ((1 - p) ** gamma * np.log(p))[d == 1].sum() / (d == 1).sum()
    return -(source + target)


DOMAINS = np.array([0, 1, 1, 0, 1])


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_equation_4(reduction):
    logits = np.random.default_rng(0).normal(size=(5, 1, 3, 4))
    expected = equation_4(logits, DOMAINS, reduction == 'mean')
    loss = domain_bce(torch.tensor(logits), torch.tensor(DOMAINS), reduction)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_equation_5_with_different_numbers_of_proposals(reduction):
    rng = np.random.default_rng(1)
    image_index = np.array([0, 0, 1, 3, 3, 3, 4, 1])  # image 2 has no proposal
    logits = rng.normal(size=8)
    expected = equation_5(logits, image_index, DOMAINS, reduction == 'mean')
    loss = domain_bce(
        torch.tensor(logits)[:, None],
        torch.tensor(DOMAINS),
        reduction,
        image_index=torch.tensor(image_index),
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0, 5.0])
def test_focal_loss(gamma):
    logits = np.random.default_rng(2).normal(size=5) * 3
    loss = domain_focal(torch.tensor(logits), torch.tensor(DOMAINS), gamma)
    assert loss.item() == pytest.approx(focal(logits, DOMAINS, gamma), rel=1e-4)


def test_equation_4_skips_padding():
    logits = np.random.default_rng(3).normal(size=(2, 1, 4, 4))
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    mask[..., :3, :2] = True
    d = np.array([0, 1])
    for reduction in ('mean', 'sum'):
        expected = equation_4(logits[..., :3, :2], d, reduction == 'mean')
        loss = domain_bce(torch.tensor(logits), torch.tensor(d), reduction, mask=mask)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-8, 8), st.integers(0, 1)), min_size=1, max_size=8),
    st.floats(0, 6),
)
def test_focal_gradient_by_finite_differences(rows, gamma):
    logits = torch.tensor([r[0] for r in rows], dtype=torch.float32, requires_grad=True)
    domains = torch.tensor([r[1] for r in rows])
    domain_focal(logits, domains, gamma).backward()
    x, d, h = logits.detach().double().numpy(), domains.numpy(), 1e-6

    def value(v):
        p, total = sigmoid(v), 0.0
        for domain, term in ((0, p**gamma * np.log(1 - p)), (1, (1 - p) ** gamma * np.log(p))):
            if (d == domain).any():
                total -= term[d == domain].mean()
        return total

    for i in range(len(x)):
        step = np.zeros_like(x)
        step[i] = h
        numeric = (value(x + step) - value(x - step)) / (2 * h)
        assert logits.grad[i].item() == pytest.approx(numeric, abs=2e-3, rel=1e-2)


def test_extreme_logits_stay_finite():
    logits = torch.tensor([200.0, -200.0], requires_grad=True)
    loss = domain_bce(logits, torch.tensor([0, 1])) + domain_focal(logits, torch.tensor([0, 1]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_a_domain_without_proposals_still_gives_every_parameter_a_gradient():
    layer = torch.nn.Linear(3, 1)
    logits = layer(torch.zeros(0, 3))
    empty = torch.zeros(0, dtype=torch.long)
    domain_bce(logits, torch.tensor([0, 1]), image_index=empty).backward()
    assert layer.weight.grad is not None and not layer.weight.grad.any()


def test_gradient_reversal_by_finite_differences():
    def f(x):
        return (x**3).sum()

    x = torch.linspace(-1, 1, 5, dtype=torch.float64, requires_grad=True)
    y = grad_reverse(x, 0.3)
    assert torch.equal(y, x)
    f(y).backward()
    h = 1e-6
    for i in range(5):
        step = torch.zeros(5, dtype=torch.float64)
        step[i] = h
        numeric = (f(x.detach() + step) - f(x.detach() - step)) / (2 * h)
        assert x.grad[i].item() == pytest.approx(-0.3 * numeric.item(), abs=1e-6)


def test_accuracy_per_domain():
    accuracy = domain_accuracy(
        torch.tensor([[2.0], [-1.0], [3.0], [1.0]]),
        torch.tensor([0, 1]),
        torch.tensor([0, 0, 1, 1]),
    )
    assert accuracy['source'] == 0.5 and accuracy['target'] == 1.0
    assert 'target' not in domain_accuracy(torch.zeros(2, 1), torch.tensor([0, 0]))


@pytest.mark.parametrize(
    ('call', 'words'),
    [
        (lambda: domain_bce(torch.zeros(2), torch.tensor([0, 2])), '0 .source. and 1 .target.'),
        (lambda: domain_bce(torch.zeros(3), torch.tensor([0, 1])), '3 rows of logits'),
        (lambda: domain_bce(torch.zeros(2), torch.tensor([0, 1]), 'avg'), 'map_reduction'),
        (lambda: domain_focal(torch.zeros(2), torch.tensor([0, 1]), -1), 'gamma'),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
