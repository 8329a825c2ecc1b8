"""Puts configs and tools into the wheel; everything else about the package is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# where OpenMMLab's package manager `mim` looks: mmstal_da/.mim/configs, mmstal_da/.mim/tools
MIM = 'mmstal_da/.mim'


class BuildWithConfigs(build_py):
    """Copies configs and tools beside the modules, as MMDetection and MMAction2 do."""

    def run(self) -> None:
        """Build; an editable install finds them in the repository instead."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / MIM
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        # what sets up and tests a checkout stays there
        ignored = shutil.ignore_patterns(
            '__pycache__',
            '*.png',
            '*.npz',
            'setup_env.sh',
            'run_*.sh',
            'quickstart.sh',
            'ruff.toml',
        )
        for part in ('configs', 'tools'):
            shutil.copytree(ROOT / part, target / part, ignore=ignored)
        # the list of metafiles, which mim reads one folder further up
        index = target / 'configs/model-index.yml'
        (target / index.name).write_text(index.read_text().replace('\n- ', '\n- configs/'))
        index.unlink()


setup(cmdclass={'build_py': BuildWithConfigs})
