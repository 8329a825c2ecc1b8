"""Registers every component of the package and sets the default scope."""

import importlib

from mmengine import DefaultScope

MODULES = (
    'mmstal_da.registry',
    'mmstal_da.datasets',
    'mmstal_da.engine',
    'mmstal_da.evaluation.metrics',
    'mmstal_da.models',
    'mmstal_da.visualization',
)


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import all modules so that their classes stand in the registries.

    Args:
        init_default_scope: Make ``mmstal_da`` the scope that bare type names are looked up in.
            Tools that read a config leave it to the config's ``default_scope``.
    """
    for module in MODULES:
        importlib.import_module(module)
    if init_default_scope:
        current = DefaultScope.get_current_instance()
        if current is None or current.scope_name != 'mmstal_da':
            name = 'mmstal_da'
            if DefaultScope.check_instance_created(name):
                name = f'{name}-{len(DefaultScope._instance_dict)}'
            DefaultScope.get_instance(name, scope_name='mmstal_da')
