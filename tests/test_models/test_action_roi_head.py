"""ActionRoIHead: TF2 in parts at test is TF2 of all RoIs at once."""

import pytest
import torch

from tests.model_builders import build_detector


@pytest.fixture(scope='module')
def head():
    return build_detector().roi_head


@pytest.mark.slow
@pytest.mark.parametrize('number', [0, 1, 16, 127, 128, 129, 300])
def test_parts_are_the_whole_and_have_few_sizes(head, number, monkeypatch):
    head.eval()
    channels = head.bbox_roi_extractor.out_channels
    features = torch.randn(number, channels, 7, 7, generator=torch.Generator().manual_seed(0))
    seen = []
    forward = head.shared_head.forward
    monkeypatch.setattr(head.shared_head, 'forward', lambda x: seen.append(len(x)) or forward(x))
    with torch.no_grad():
        parts = head._second_stage(features)
    assert set(seen) <= set(range(0, 129, 16)) and sum(seen) < number + 16
    assert parts.shape[0] == number
    if number:  # one by one, which no size of a batch has part in
        rows = [forward(features[i : i + 1]) for i in range(0, number, 7)]
        torch.testing.assert_close(parts[::7], torch.cat(rows), rtol=1e-4, atol=1e-5)


def test_a_training_sees_all_at_once(head, monkeypatch):
    """Batch norm on batch statistics sees every RoI, and no filling."""
    head.train()
    seen = []
    monkeypatch.setattr(head.shared_head, 'forward', lambda x: seen.append(len(x)) or x)
    head._second_stage(torch.zeros(150, head.bbox_roi_extractor.out_channels, 7, 7))
    assert seen == [150]
