"""Unsupervised domain adaptation for spatio-temporal action localisation, on MMAction2.

Importing the package is light: it loads no torch. ``mmstal_da.registry`` and
:mod:`mmstal_da.register` bring in the components.
"""

from mmstal_da.version import __version__

__all__ = ['__version__']
