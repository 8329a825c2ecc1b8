"""D_Tinst by class: the logit by hand, whose gradients there are, and a whole step."""

import copy

import numpy as np
import pytest
import torch

from mmstal_da.errors import ConfigError
from mmstal_da.models.adaptation import ClassWiseInstanceDiscriminator
from tests.model_builders import build_detector, dual_batch, losses_of, module_configs


def by_class(num_classes: int = 3) -> dict:
    """The modules, D_Tinst by class."""
    modules = module_configs()
    kind = 'ClassWiseInstanceDiscriminator'
    modules['temporal_instance'].update(type=kind, num_classes=num_classes, dropout=0.0)
    return modules


def test_the_logit_is_the_mean_of_the_classes_logits():
    """Sum over classes of probability times logit, the hidden layers in NumPy."""
    torch.manual_seed(0)
    built = ClassWiseInstanceDiscriminator(2, in_channels=5, channels=4, init_cfg=None).eval()
    rng = np.random.default_rng(0)
    x, p = rng.normal(size=(7, 5)), rng.dirichlet(np.ones(3), 7)
    hidden = x
    layers = [layer for layer in built.layers if isinstance(layer, torch.nn.Linear)]
    for number, layer in enumerate(layers):
        weight, bias = (value.detach().numpy() for value in (layer.weight, layer.bias))
        hidden = hidden @ weight.T + bias
        hidden = np.maximum(hidden, 0) if number < 2 else hidden
    assert hidden.shape == (7, 3)
    found = built(torch.tensor(x).float(), torch.tensor(p).float())
    assert found.shape == (7, 1)
    np.testing.assert_allclose(found.detach().numpy()[:, 0], (hidden * p).sum(1), rtol=1e-4)
    assert built(torch.zeros(0, 5), torch.zeros(0, 3)).shape == (0, 1)
    with pytest.raises(ConfigError, match='num_classes is 2, but the detector has 4 classes'):
        built(torch.zeros(1, 5), torch.zeros(1, 5))


def test_a_step_compares_by_the_detectors_own_classes(monkeypatch):
    """Its probabilities are the classifier's, which gets no gradient from it."""
    detector = build_detector(by_class())
    head, seen = detector.roi_head, []

    def spy(vectors):
        seen.append((vectors.detach(), type(head).class_probabilities(head, vectors)))
        return seen[-1][1]

    monkeypatch.setattr(head, 'class_probabilities', spy)
    losses = losses_of(detector, dual_batch(n=1))
    ((vectors, probabilities),) = seen
    fc = head.bbox_head.fc_cls
    logits = vectors.numpy() @ fc.weight.detach().numpy().T + fc.bias.detach().numpy()
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities.numpy(), expected, rtol=1e-4, atol=1e-6)
    losses['loss_da_tinst'].backward()
    assert fc.weight.grad is None
    last = detector.adaptation.temporal_instance.layers[-1]
    assert last.weight.shape == (4, 16) and bool((last.weight.grad.abs().sum(1) > 0).all())
    assert any(p.grad is not None for p in head.shared_head.parameters())  # reversed


@pytest.mark.slow
def test_equal_layers_of_all_classes_are_one_discriminator():
    """Then the losses are those of the plain D_Tinst with the same weights."""
    plain_modules = module_configs()
    plain_modules['temporal_instance'].update(dropout=0.0)
    plain, classes = build_detector(plain_modules), build_detector(by_class())
    state = copy.deepcopy(plain.state_dict())
    last = 'adaptation.temporal_instance.layers.6'
    for name, value in ((f'{last}.weight', (4, -1)), (f'{last}.bias', (4,))):
        state[name] = state[name].expand(*value).clone()
    classes.load_state_dict(state)
    batch = dual_batch(n=1)
    found, expected = (losses_of(d, copy.deepcopy(batch)) for d in (classes, plain))
    for name, value in expected.items():
        if name.startswith('loss_da'):
            assert found[name].item() == pytest.approx(value.item(), rel=1e-5)
