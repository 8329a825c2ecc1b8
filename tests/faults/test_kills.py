"""Runs that are killed, a full disk and a folder that cannot be written: all or nothing.

A run is a fork of this process, so that it needs no imports, and gets SIGKILL at a random moment.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mmstal_da.datasets.proposals import ProposalFile, save_proposals
from mmstal_da.synthetic import ClipSettings, SyntheticConfig, generate
from mmstal_da.tubes.annotation import load_annotation
from mmstal_da.utils.io import atomic_write, remove_leftovers
from tests.clips import numbered_frames, write_video
from tests.faults.sources import act
from tests.load_tool import load_tool

CLIP = ClipSettings(width=32, height=32, min_frames=4, max_frames=5)
PAIR = SyntheticConfig(source_train=1, source_test=1, target_train=1, target_test=1, clip=CLIP)
PROPOSALS = {
    (f'video {v}', f): (np.tile([[1.0, 2, 30, 40]], (50, 1)), np.linspace(1, 0, 50))
    for v in range(20)
    for f in range(1, 40)
}
LENGTHS = {f'video {v}': 40 for v in range(20)}


@dataclass(frozen=True)
class Run:
    """Something that writes a file.

    Attributes:
        make: Writes what is read, below a folder.
        run: Reads it and writes the file; the exit status.
        whole: Fails unless the file is what it should be.
    """

    make: Callable[[Path], None]
    run: Callable[[Path, Path], int]
    whole: Callable[[Path], None]


def videos(folder: Path) -> None:
    for name in ('a', 'b', 'c'):
        write_video(folder / 'videos' / f'{name}.mkv', numbered_frames(20))


def prepare(folder: Path, out: Path) -> int:
    tool = load_tool('data/prepare')
    return tool.main(['act', '--annotations', str(folder / 'GT.pkl'), '--out', str(out)])


def index(folder: Path, out: Path) -> int:
    return load_tool('data/index_videos').main([str(folder / 'videos'), '--out', str(out)])


def dump(folder: Path, out: Path) -> int:
    save_proposals(out, {'train': (PROPOSALS, LENGTHS)}, {'config': 'c.py'})
    return 0


def whole_proposals(out: Path) -> None:
    part = ProposalFile(out, 'train')
    assert sum(len(part.of_frame(*key, 40)[1]) for key in PROPOSALS) == 50 * len(PROPOSALS)


RUNS = {
    'prepare': Run(act, prepare, lambda out: [load_annotation(out)] and None),
    'index_videos': Run(videos, index, lambda out: [load_annotation(out)] and None),
    'dump_proposals': Run(lambda folder: None, dump, whole_proposals),
}


def forked(
    run: Callable[[], int], delay: float | None = None, limit: int | None = None
) -> tuple[int, str]:
    """Run in a fork; its exit status, or minus the signal that ended it, and its errors.

    Args:
        run: What to run.
        delay: Seconds until SIGKILL; None waits for the end.
        limit: Most bytes of a file, like a disk that is full then.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        code = 70
        try:
            sys.stdout = open(os.devnull, 'w')  # a file would have its limit, too
            os.dup2(writes, 2)
            sys.stderr = os.fdopen(2, 'w', buffering=1)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            code = run()
        finally:
            os._exit(code)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    os.close(writes)
    with os.fdopen(reads) as errors:
        text = errors.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


@pytest.mark.slow
@pytest.mark.parametrize('step', ['fsync', 'chmod', 'replace'])
@pytest.mark.parametrize('name', RUNS)
def test_a_run_that_is_killed_at_a_step_of_writing(tmp_path, name, step):
    case, out = RUNS[name], tmp_path / 'out' / ('p.npz' if name == 'dump_proposals' else 'o.json')
    case.make(tmp_path)

    def killed() -> int:
        setattr(os, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        return case.run(tmp_path, out)

    assert forked(killed)[0] == -signal.SIGKILL
    assert not out.exists() and len(list(out.parent.iterdir())) == 1
    out.write_text('what was there before')
    assert forked(killed)[0] == -signal.SIGKILL
    assert out.read_text() == 'what was there before'


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_a_killed_run_leaves_the_old_file_or_the_whole_new_one(tmp_path, name):
    case, out = RUNS[name], tmp_path / 'out' / ('p.npz' if name == 'dump_proposals' else 'o.json')
    case.make(tmp_path)
    began = time.perf_counter()
    assert forked(lambda: case.run(tmp_path, out)) == (0, '')
    length = time.perf_counter() - began
    case.whole(out)
    expected, killed = out.read_bytes(), 0
    rng = np.random.default_rng(0)
    for number in range(15):
        if number % 3 == 0:
            out.unlink(missing_ok=True)
        before = out.read_bytes() if out.exists() else None
        code, _ = forked(lambda: case.run(tmp_path, out), delay=float(rng.uniform(0, length)))
        killed += code == -signal.SIGKILL
        if out.exists():
            assert out.read_bytes() in (before, expected)
            case.whole(out)
        else:
            assert before is None
    assert killed
    for path in out.parent.iterdir():  # as if the next start came later
        os.utime(path, (0, 0))
    assert forked(lambda: case.run(tmp_path, out)) == (0, '')
    case.whole(out)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.slow
def test_a_killed_rendering_leaves_nothing_behind_at_the_next_start(tmp_path):
    out = tmp_path / 'pair'
    began = time.perf_counter()
    assert forked(lambda: int(not generate(out, PAIR)))[0] == 0
    length = time.perf_counter() - began
    rng, killed = np.random.default_rng(1), 0
    for number in range(8):
        again = SyntheticConfig(**{**vars(PAIR), 'seed': number})
        code, _ = forked(
            lambda again=again: int(not generate(out, again, overwrite=True)),
            delay=float(rng.uniform(0, length)),
        )
        killed += code == -signal.SIGKILL
        if out.exists():  # the old pair or the new one
            seed = json.loads((out / 'synthetic.json').read_text())['parameters']['seed']
            assert len(list(out.rglob('*.mp4'))) == 4 and seed <= number
    assert killed
    assert generate(out, PAIR, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['pair']


def test_leftovers_of_a_running_process_stay(tmp_path):
    with atomic_write(tmp_path / 'a.json') as file:
        file.write('1')
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))
        assert remove_leftovers(tmp_path, '.a.json.', '.tmp') == []
    (tmp_path / '.a.json.dead.tmp').touch()
    (tmp_path / '.b.json.dead.tmp').touch()
    assert remove_leftovers(tmp_path, '.a.json.', '.tmp') == []  # it may just begin
    os.utime(tmp_path / '.a.json.dead.tmp', (0, 0))
    with atomic_write(tmp_path / 'a.json') as file:
        file.write('2')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.b.json.dead.tmp', 'a.json']
    assert (tmp_path / 'a.json').read_text() == '2'


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, name):
    case, out = RUNS[name], tmp_path / 'out' / ('p.npz' if name == 'dump_proposals' else 'o.json')
    case.make(tmp_path)

    def run() -> int:
        try:
            return case.run(tmp_path, out)
        except OSError as error:  # the tool prints it
            print(error, file=sys.stderr)
            return 1

    for old in (False, True):
        before = None
        if old:
            assert case.run(tmp_path, out) == 0
            before = out.read_bytes()
        code, error = forked(run, limit=100)
        assert code == 1
        assert 'cannot be written' in error and str(out) in error
        assert (out.read_bytes() if out.exists() else None) == before
        assert [p.name for p in out.parent.iterdir()] == ([out.name] if old else [])


def test_a_full_disk_while_rendering(tmp_path):
    tool, out = load_tool('data/make_synthetic'), tmp_path / 'pair'
    small = ['--source-train', '2', '--source-test', '2', '--target-train', '2',
             '--target-test', '2', '--width', '64', '--height', '64', '--min-frames', '6',
             '--max-frames', '8']  # fmt: skip
    code, error = forked(lambda: tool.main(['--out', str(out), *small]), limit=900)
    assert code == 2
    assert 'make_synthetic: ' in error and '.mp4' in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', RUNS)
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, capsys, name):
    case, out = RUNS[name], tmp_path / 'out' / ('p.npz' if name == 'dump_proposals' else 'o.json')
    case.make(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, 'Permission denied', 'some temporary name')

    monkeypatch.setattr('tempfile.mkstemp', refuse)
    if name == 'dump_proposals':
        with pytest.raises(OSError, match=r'cannot be written \(Permission denied\).*p\.npz'):
            case.run(tmp_path, out)
    else:
        assert case.run(tmp_path, out) == 1
        error = capsys.readouterr().err
        assert 'cannot be written (Permission denied)' in error and str(out) in error
    assert not out.exists()
