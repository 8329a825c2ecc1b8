"""Step ``tests``: the tests marked ``gpu``, with the numbers that they record."""

import os
import subprocess
import sys
from xml.etree import ElementTree

from .context import Context

# on a CPU two rows represent all
FEW = 'not training_step or source_only or slowonly'


def run(name: str, context: Context) -> None:
    """Run pytest.

    Raises:
        RuntimeError: A test failed, or none ran.
    """
    report = context.work / 'tests.xml'
    report.unlink(missing_ok=True)
    command = [sys.executable, '-m', 'pytest', 'tests/test_gpu.py', '-q', '-m', 'gpu']
    command += [
        '-p',
        'no:cacheprovider',
        '-rs',
        f'--junitxml={report}',
        '-o',
        'junit_family=xunit1',
    ]
    if context.tiny:
        command += ['-k', FEW]
    environment = {**os.environ, 'MMSTAL_DA_GPU_TEST_DEVICE': context.device}
    code = subprocess.run(command, env=environment).returncode
    if not report.is_file():
        raise RuntimeError(f'pytest ended with status {code} and left no report')
    result = read_report(report)
    context.save(name, result)
    if code or not result['passed']:
        raise RuntimeError(f'{result["failed"]} tests failed, {result["passed"]} passed')


def read_report(path: os.PathLike) -> dict:
    """Counts, and every test's outcome, seconds and recorded numbers, of a JUnit file."""
    tests = {}
    for case in ElementTree.parse(path).iter('testcase'):
        outcome, message = 'passed', None
        for kind in ('failure', 'error', 'skipped'):
            found = case.find(kind)
            if found is not None:
                outcome = 'skipped' if kind == 'skipped' else 'failed'
                message = (found.get('message') or '').splitlines()[:3]
        entry = dict(outcome=outcome, seconds=round(float(case.get('time', 0)), 2))
        if message:
            entry['message'] = ' '.join(message)
        for recorded in case.iter('property'):
            entry[recorded.get('name')] = float(recorded.get('value'))
        tests[case.get('name')] = entry
    outcomes = [entry['outcome'] for entry in tests.values()]
    counts = {kind: outcomes.count(kind) for kind in ('passed', 'failed', 'skipped')}
    return {**counts, 'tests': tests}
