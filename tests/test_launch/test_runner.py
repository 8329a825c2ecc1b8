"""How a training ends whose partner is gone."""

from types import SimpleNamespace

import pytest

from mmstal_da.errors import TrainingError
from mmstal_da.launch import runner as module

GLOO = '[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:39203'


def failing(error: Exception) -> SimpleNamespace:
    begins = module._Begins()
    begins.begun = True

    def train() -> None:
        raise error

    return SimpleNamespace(hooks=[begins], train=train)


@pytest.mark.parametrize(
    ('error', 'distributed', 'expected'),
    [
        (RuntimeError(GLOO), True, TrainingError),
        (RuntimeError(GLOO), False, RuntimeError),
        (RuntimeError('shapes differ'), True, RuntimeError),
        (TrainingError('loss is NaN'), True, TrainingError),
    ],
)
def test_a_process_that_is_left_alone_says_so(monkeypatch, error, distributed, expected):
    monkeypatch.setattr(module, 'is_distributed', lambda: distributed)
    with pytest.raises(expected) as raised:
        module.start(failing(error), 'train')
    assert type(raised.value) is expected
    lost = 'another process of this training has ended: ' in str(raised.value)
    assert lost == (error.args[0] == GLOO and distributed)
    assert ('--resume' in str(raised.value)) == lost
