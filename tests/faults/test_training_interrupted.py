"""Training and table killed or interrupted at any moment: they resume to the same result."""

import contextlib
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.faults import forked
from tests.faults.tiny_pair import ROOT, environment
from tests.faults.tiny_training import MAX_ITERS, assert_same, final_weights, progress, train
from tests.load_tool import load_tool
from tests.test_experiments.fake_table import DUMP, ITERS, LEARNS, TEST, TRAIN, make_pair

END_WITHIN = 10.0  # CPU seconds from Ctrl-C to the end


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> tuple[dict[str, torch.Tensor], float]:
    """Weights of an uninterrupted training, and its seconds."""
    folder = tmp_path_factory.mktemp('whole')
    began = time.monotonic()
    assert forked.wait(forked.start(train, folder, log=folder / 'log')) == 0
    return final_weights(folder), time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_is_stopped_twenty_times_ends_in_the_same_weights(number, whole, tmp_path):
    expected, seconds = whole
    rng = random.Random(int(number))
    at = []
    while len(at) < 20:
        process = forked.start(train, tmp_path, log=tmp_path / 'log')
        before = progress(tmp_path)
        if len(at) % 2:  # at any moment of what is left
            time.sleep(rng.uniform(0, 0.4 * seconds))
        else:  # soon after it has saved something new
            forked.until(lambda p=process, n=before: progress(tmp_path) > n or not p.is_alive())
            time.sleep(rng.uniform(0, 0.01))
        forked.kill(process, number)
        code = forked.wait(process)
        assert code in (-signal.SIGKILL, 130, 0), (tmp_path / 'log').read_text()[-2000:]
        if code:  # it was not yet at its end
            at.append(progress(tmp_path))
        for path in tmp_path.glob('iter_*.pth'):
            torch.load(path)  # whole
        if progress(tmp_path) >= MAX_ITERS - 2:
            end_and_compare(tmp_path, expected)
    end_and_compare(tmp_path, expected)
    assert len(set(at)) > 5


def end_and_compare(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """Resume a training to its end, compare its weights and empty its folder."""
    assert forked.wait(forked.start(train, folder, log=folder / 'log')) == 0
    assert_same(final_weights(folder), expected)
    assert not list(folder.glob('.*.tmp'))
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.slow
def test_ctrl_c_ends_a_training_soon(tmp_path):
    process = forked.start(train, tmp_path, 100000, log=tmp_path / 'log')
    forked.until(lambda: progress(tmp_path) > 1)
    begun = used = forked.cpu_seconds(process)
    forked.kill(process, signal.SIGINT)

    def ended() -> bool:
        nonlocal used
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            used = forked.cpu_seconds(process)
        return used - begun > END_WITHIN or not process.is_alive()

    forked.until(ended)
    assert used - begun <= END_WITHIN
    assert forked.wait(process) == 130


# --- the table

ROWS = ('source_only', 'full', 'pseudo')  # the last reads what the second makes


@pytest.fixture
def fake_tools(tmp_path, monkeypatch) -> Path:
    """A pair and tools that take a moment, as in the tests of the table."""
    tools = tmp_path / 'tools'
    (tools / 'data').mkdir(parents=True)
    for name, text in (('train', TRAIN), ('test', TEST), ('data/pseudo_tubes', DUMP)):
        (tools / f'{name}.py').write_text(text)
    monkeypatch.setattr('mmstal_da.experiments.commands.TOOLS', tools)
    monkeypatch.setenv('SLEEP', '0.1')
    pair = make_pair(tmp_path / 'pair', *ROWS)
    with open(pair / 'pseudo.py', 'a') as file:
        file.write(LEARNS)
    return pair


def table(pair: Path, out: Path) -> int:
    arguments = [pair, '--rows', *ROWS, '--seeds', 0, 1, '--out', out, '--jobs', 2]
    return load_tool('run_table').main([*map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_table_that_is_stopped_again_and_again_is_whole_in_the_end(number, fake_tools, tmp_path):
    out, log, rng = tmp_path / 'out', tmp_path / 'log', random.Random(3)
    stopped = 0
    while stopped < 8:
        process = forked.start(table, fake_tools, out, log=log)
        time.sleep(rng.uniform(0.05, 1.0))
        forked.kill(process, number)
        code = forked.wait(process)
        assert code in (-signal.SIGKILL, 130, 0), log.read_text()[-3000:]
        if code:
            stopped += 1
        else:  # it had ended before
            assert_whole(out)
            shutil.rmtree(out)
    assert forked.wait(forked.start(table, fake_tools, out, log=log)) == 0, log.read_text()[-3000:]
    assert_whole(out)


def assert_whole(out: Path) -> None:
    """Every run of the table is there, with the result that belongs to it."""
    found = json.loads((out / 'table.json').read_text())
    assert found['missing'] == [] and found['failed'] == []
    results = [json.loads(path.read_text()) for path in sorted(out.glob('*/seed*/result.json'))]
    assert len(results) == 6
    for record in results:
        assert record['metrics']['frame_mAP@0.5'] == 5.0 * len(record['row']) + record['seed']
        assert record['checkpoint'] == f'iter_{ITERS}.pth'
        if record['row'] == 'pseudo':
            file = out / f'full/seed{record["seed"]}/pseudo_tubes.json'
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert record['pseudo_tubes']['sha256'] == digest


def heed_sigint() -> None:
    """If the tests run in the background of a shell, their children ignore SIGINT at first."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_in_the_real_tools_at_several_moments(rows, tmp_path):
    """At the start, while it imports, and in the middle of the training; then it resumes."""
    flags = [
        *('--work-dir', str(tmp_path), '--no-validate', '--resume'),
        *('--cfg-options', 'train_cfg.max_iters=2000'),
    ]
    argv = [sys.executable, str(ROOT / 'tools/train.py'), str(rows / 'source_only.py'), *flags]
    for moment in ('start', 'import', 'training'):
        process = subprocess.Popen(
            argv,
            **dict(env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
            preexec_fn=heed_sigint,
        )
        try:
            if moment == 'import':
                time.sleep(1.5)
            elif moment == 'training':
                forked.until(lambda p=process: progress(tmp_path) > 1 or p.poll() is not None)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(900) in (130, 1, -signal.SIGINT)
        finally:
            process.kill()
    done = progress(tmp_path)
    argv[-1] = f'train_cfg.max_iters={done + 1}'
    ended = subprocess.run(argv, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert progress(tmp_path) == done + 1
