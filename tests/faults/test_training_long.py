"""A long training: memory, processes, open files and the folder stay as they are."""

import json
import re
import subprocess
import sys

import pytest

from tests.faults import forked
from tests.faults.long_run import EVERY, ITERS
from tests.faults.tiny_pair import ROOT, environment

# what MMEngine and its visualizers write, by name
KEPT = (
    r'iter_(1900|2000)\.pth|last_checkpoint|\d+_\d+/\d+_\d+\.log|\d+_\d+\.py'
    r'|\d+_\d+/vis_data/(\d+_\d+\.json|scalars\.json|config\.py|events\.out\.tfevents\..*)'
)


@pytest.mark.slow
def test_two_thousand_iterations(tmp_path):
    """With all default hooks, two workers, and ten validations that start a worker each."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'tests.faults.long_run', str(tmp_path)],
        **dict(cwd=ROOT, env=environment(), start_new_session=True, text=True),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors[-3000:]
    lines = re.findall(r'^measured (.*)$', said, re.MULTILINE)
    found = {line['iteration']: line for line in map(json.loads, lines)}
    assert list(found) == list(range(EVERY, ITERS + 1, EVERY))
    first, last = found[EVERY], found[ITERS]
    for name in ('memory', 'memory_of_children'):
        assert last[name] <= 1.05 * first[name], found
    assert last['children'] == first['children'] == 2, found  # those of the training data
    assert last['files'] <= first['files'], found
    # the memory of small things is lost in that of libraries, but one of an iteration counts here
    assert last['objects'] - first['objects'] < (ITERS - EVERY) / 4, found
    forked.until(lambda: not forked.alive_in_session(process.pid))
    paths = [p.relative_to(tmp_path) for p in tmp_path.rglob('*') if not p.is_dir()]
    assert not [str(path) for path in paths if not re.fullmatch(KEPT, str(path))]
    assert len(list(tmp_path.glob('iter_*.pth'))) == 2
