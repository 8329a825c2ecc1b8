"""Each discriminator learns separable features; a feature extractor unlearns the domain."""

import pytest
import torch
import torch.nn.functional as F

from mmstal_da.models.adaptation import DomainAdaptation
from tests.model_builders import build_detector, module_configs

N = 32
DOMAINS = torch.arange(N) % 2


def build(name: str, weight: float) -> DomainAdaptation:
    """The adaptation with one module on, without dropout."""
    config = module_configs()[name]
    if 'dropout' in config:
        config['dropout'] = 0.0
    adaptation = build_detector({name: config}).adaptation
    adaptation.lambda_mode = 'grl_coefficient'
    adaptation.weight = weight
    return adaptation


def run(adaptation: DomainAdaptation, features: torch.Tensor) -> dict:
    """All three inputs made of the same per-image feature vectors ``(N, 16)``."""

    def grow(channels: int) -> torch.Tensor:
        return features.repeat(1, -(-channels // 16))[:, :channels]

    return adaptation(
        grow(128)[..., None, None].expand(-1, -1, 8, 8),
        grow(84)[..., None, None].expand(-1, -1, 3, 4),
        DOMAINS,
        grow(102),
        torch.arange(N),
    )


def make_features(seed: int = 0) -> torch.Tensor:
    """Vectors whose first half tells the domain."""
    torch.manual_seed(seed)
    x = torch.randn(N, 16)
    x[:, :8] += 1.5 * (2 * DOMAINS[:, None] - 1)
    return x


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'key'),
    [('spatial', 'spatial'), ('temporal_image', 'timg'), ('temporal_instance', 'tinst')],
)
def test_discriminator_learns_on_frozen_separable_features(name, key):
    adaptation = build(name, 1.0)
    optimizer = torch.optim.Adam(adaptation.parameters(), 1e-2)
    features = make_features()
    first = run(adaptation, features)[f'loss_da_{key}'].item()
    for _ in range(60):
        optimizer.zero_grad()
        out = run(adaptation, features)
        out[f'loss_da_{key}'].backward()
        optimizer.step()
    assert out[f'loss_da_{key}'].item() < 0.3 * first
    assert out[f'acc_da_{key}_source'] > 0.9 and out[f'acc_da_{key}_target'] > 0.9


def probe_accuracy(x: torch.Tensor, y: torch.Tensor) -> float:
    """Accuracy on the second half of a linear probe fitted to the first half."""
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    half = len(x) // 2
    sides = 2.0 * y - 1
    fit = torch.linalg.lstsq(x[:half], sides[:half, None]).solution
    return ((x[half:] @ fit)[:, 0].sign() == sides[half:]).float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize('weight', [0.0, 1.0])
def test_features_unlearn_the_domain_and_keep_the_class(weight):
    """A map to two features, one of the domain and one of the class at the start.

    Trained for the class, it lets a fresh probe read the domain off the features; with the
    reversed gradient behind it the probe is at chance, and the class is still there.
    """
    adaptation = build('temporal_image', weight)
    torch.manual_seed(1)
    mapping, head = torch.nn.Linear(16, 2, bias=False), torch.nn.Linear(2, 1)
    with torch.no_grad():
        mapping.weight.zero_()
        mapping.weight[0, :8] = mapping.weight[1, 8:] = 0.35
    optimizer = torch.optim.Adam(
        [
            dict(params=adaptation.parameters(), lr=1e-2),
            dict(params=[*mapping.parameters(), *head.parameters()], lr=2e-3),
        ],
        betas=(0.5, 0.9),
    )

    def sample() -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(0, 2, (N,)).float()
        x = torch.randn(N, 16)
        x[:, :8] += 2.0 * DOMAINS[:, None] - 1
        x[:, 8:] += 1.5 * (2 * labels[:, None] - 1)
        return x, labels

    for _ in range(800):
        x, labels = sample()
        optimizer.zero_grad()
        feat = mapping(x)
        task = F.binary_cross_entropy_with_logits(head(feat)[:, 0], labels)
        (task + run(adaptation, feat.repeat(1, 8))['loss_da_timg']).backward()
        optimizer.step()
    with torch.no_grad():
        batches = [sample() for _ in range(40)]
        feat = torch.cat([mapping(x) for x, _ in batches])
        labels = torch.cat([y for _, y in batches])
    domain = probe_accuracy(feat, DOMAINS.repeat(40))
    assert probe_accuracy(feat, labels) > 0.95
    assert domain < 0.65 if weight else domain > 0.95
