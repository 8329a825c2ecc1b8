"""Ctrl-C becomes a sentence, whenever it comes."""

import os
import shlex
import signal
import subprocess
import sys

import pytest
from mmengine.config import Config

from mmstal_da.utils.interrupt import INTERRUPTED, Stop, interruptible

TOOL = """
import sys, time
from mmstal_da.utils.interrupt import INTERRUPTED, at_start, interruptible

at_start(__name__)
print('importing', flush=True)
{importing}

def main():
    with interruptible(__file__) as stop:
        stop.where = 'in the middle'
        try:
            print('running', flush=True)
            time.sleep(60)
        finally:
            print('cleaned', flush=True)
            {cleaning}
        return 0
    return INTERRUPTED

sys.exit(main())
"""


@pytest.fixture()
def start(tmp_path):
    """Starts the tool with code at two places; kills what a test leaves behind."""
    started = []

    def start_tool(importing: str = '', cleaning: str = '') -> subprocess.Popen:
        path = tmp_path / 'a tool.py'
        path.write_text(TOOL.format(importing=importing, cleaning=cleaning))
        started.append(
            subprocess.Popen(
                [sys.executable, str(path), '--flag', 'two words'],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield start_tool
    for process in started:
        process.kill()
        process.wait()


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_an_interrupted_process_cleans_up_and_says_where_it_stopped(start):
    process = start()
    assert [process.stdout.readline() for _ in range(2)] == ['importing\n', 'running\n']
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, 'cleaned\n')
    said = err.strip()
    assert '\n' not in said and said.startswith('a tool.py: stopped in the middle; to go on: ')
    assert shlex.split(said.partition('to go on: ')[2])[1:] == process.args[1:]


def test_an_interruption_during_the_imports(start):
    process = start(importing='time.sleep(60)')
    assert process.stdout.readline() == 'importing\n'
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, '')
    assert 'a tool.py: stopped before it had begun; to go on: ' in err and 'Traceback' not in err


def test_nothing_is_taken_down_after_an_interruption(start):
    """What was registered for the end is still called; the interpreter's own end is left out."""
    process = start(
        importing='import atexit; atexit.register(print, "at exit")\n'
        'class Slow:\n    def __del__(self): print("too late", flush=True)\n'
        'kept = Slow()'
    )
    process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGINT)
    code, out, _ = ended(process)
    assert (code, out) == (130, 'cleaned\nat exit\n')


def test_a_second_interruption_ends_at_once(start):
    process = start(cleaning='', importing='import atexit; atexit.register(time.sleep, 60)')
    process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert 'stopped' in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130


def test_in_this_process(capsys):
    before = signal.getsignal(signal.SIGINT)
    with interruptible('tools/x.py', ['a', 'b c']) as stop:
        stop.where = lambda: 'at 3'
        stop.command = lambda: ['bash', 'y.sh', 'b c']
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "\nx.py: stopped at 3; to go on: bash y.sh 'b c'\n"
    assert signal.getsignal(signal.SIGINT) is before and INTERRUPTED == 130
    with pytest.raises(ValueError), interruptible('tools/x.py', []):
        raise ValueError


def test_an_interruption_that_a_library_made_an_error_of(monkeypatch, capsys):
    config = Config(dict(a=1))

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmengine.config.config.FormatCode', interrupted)
    with interruptible('x.py', []):
        print(config.pretty_text)
    assert 'x.py: stopped' in capsys.readouterr().err
    with pytest.raises(KeyError), interruptible('x.py', []):
        try:
            raise ValueError
        except ValueError:
            raise KeyError from None


@pytest.mark.parametrize('variable', ['RANK', 'SLURM_PROCID'])
def test_one_of_several_processes_speaks(monkeypatch, capsys, variable):
    monkeypatch.delenv('RANK', raising=False)
    for rank, said in (('0', True), ('1', False)):
        monkeypatch.setenv(variable, rank)
        with interruptible('x.py', []):
            raise KeyboardInterrupt
        assert bool(capsys.readouterr().err) == said


def test_the_interpreter_is_named_as_the_shell_finds_it(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', os.path.dirname(sys.executable))
    assert Stop(['x.py']).command[0] == 'python'
    monkeypatch.setenv('PATH', str(tmp_path))
    assert Stop(['x.py']).command[0] == sys.executable
