"""Importing this module registers every component of the package.

A config names it in ``custom_imports``, so that MMAction2's own tools can run it too.
"""

from mmengine import DefaultScope

import mmstal_da.datasets
import mmstal_da.engine
import mmstal_da.evaluation.metrics
import mmstal_da.models
import mmstal_da.pretrained.packaged
import mmstal_da.pretrained.strict  # noqa: F401
from mmstal_da import registry  # noqa: F401  (first: repairs what importing mmaction needs)


def register_all_modules(init_default_scope: bool = True) -> None:
    """Make bare type names mean this package's classes.

    Args:
        init_default_scope: Make ``mmstal_da`` the scope in which bare type names are looked up.
            False leaves this to the config's ``default_scope``.
    """
    if init_default_scope:
        current = DefaultScope.get_current_instance()
        if current is None or current.scope_name != 'mmstal_da':
            name = 'mmstal_da'
            if DefaultScope.check_instance_created(name):
                name = f'{name}-{len(DefaultScope._instance_dict)}'
            DefaultScope.get_instance(name, scope_name='mmstal_da')
