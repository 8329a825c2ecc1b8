"""Where a training was interrupted, and the command that resumes it."""

import shlex

import pytest
import torch
from mmengine.hooks import Hook

import mmstal_da.registry  # noqa: F401  (checkpoints with a history can be read)
from mmstal_da.launch.stopping import TrainingStop, through_launcher, without_resume
from tests.tiny_runner import make_runner

COMMAND = ['python', 'tools/train.py', 'c.py', '--work-dir', 'w']


class Interrupts(Hook):
    """Ctrl-C in an iteration, counted from 0."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def interrupted(folder, iteration: int, command=COMMAND, **kwargs) -> TrainingStop:
    """A training of 6 iterations, saved after every second one."""
    runner = make_runner(folder, 6, {}, custom_hooks=[Interrupts(iteration)], **kwargs)
    stop = TrainingStop(runner, command)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    return stop


def test_a_training_is_resumed_from_what_it_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stop = interrupted(tmp_path / 'w', 3)
    assert stop.where() == 'after iteration 3 of 6 (saved: w/iter_2.pth)'
    assert stop.command() == [*COMMAND, '--resume']


def test_nothing_to_resume(tmp_path):
    stop = interrupted(tmp_path / 'w', 1)
    assert stop.where() == 'after iteration 1 of 6 (nothing was saved yet)'
    assert stop.command() == COMMAND


def test_the_checkpoint_of_an_earlier_run_is_not_resumed(tmp_path):
    interrupted(tmp_path / 'w', 5)
    stop = interrupted(tmp_path / 'w', 1)
    assert stop.where() == 'after iteration 1 of 6 (nothing was saved yet)'
    assert stop.command() == COMMAND
    stop = interrupted(tmp_path / 'w', 3)
    assert 'iter_2.pth' in stop.where() and stop.command() == [*COMMAND, '--resume']


def test_a_resumed_training_that_saved_nothing_more(tmp_path):
    interrupted(tmp_path / 'w', 3)
    checkpoint = str(tmp_path / 'w/iter_2.pth')
    torch.manual_seed(0)
    for folder in ('w', 'elsewhere'):
        command = [*COMMAND, '--resume', checkpoint]
        stop = interrupted(tmp_path / folder, 3, command, resume=True, load_from=checkpoint)
        assert stop.where() == f'after iteration 3 of 6 (saved: {checkpoint})'
        assert stop.command() == command
    stop = interrupted(tmp_path / 'w', 5, command, resume=True, load_from=checkpoint)
    assert 'iter_4.pth' in stop.where() and stop.command() == [*COMMAND, '--resume']


def test_before_it_trains(tmp_path):
    stop = TrainingStop(make_runner(tmp_path, 6, {}), COMMAND)
    assert stop.where() == 'after iteration 0 of 6 (nothing was saved yet)'


@pytest.mark.parametrize(
    ('flags', 'left'),
    [
        ('', ''),
        ('--resume', ''),
        ('--resume a.pth --amp', '--amp'),
        ('--resume --amp', '--amp'),
        ('--resume=a.pth --amp', '--amp'),
        ('--res a.pth --seed 0', '--seed 0'),
        ('--cfg-options a=b --resume', '--cfg-options a=b'),
    ],
)
def test_without_resume(flags, left):
    assert without_resume([*COMMAND, *shlex.split(flags)]) == [*COMMAND, *shlex.split(left)]


def test_processes_of_torchrun_are_started_by_its_script(monkeypatch):
    command = 'python tools/test.py c.py x.pth --launcher pytorch --work-dir w'.split()
    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    assert through_launcher(command) == command
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    assert shlex.join(through_launcher(command)) == (
        'bash tools/dist_test.sh c.py x.pth 4 --work-dir w'
    )
    assert through_launcher(COMMAND) == COMMAND
