"""Makes the table of a pair: trains and scores every row with every seed.

================  ==============================================================
``cells``         row x seed, digest of its config, how far it is
``changes``       runs whose config has changed since
``data``          digests of the annotation files
``locking``       one process per cell
``commands``      tools/train.py and tools/test.py, alone, by torchrun or srun
``attempts``      when a cell ran and for how long
``running``       one cell from training to its record
``scheduling``    several cells at a time
``machine``       how many at a time, on which devices
``progress``      how far a training is
``display``       lines and a live table for the terminal
``estimate``      how long it will take
``record``        ``result.json``
``results``       finds them and refuses to compare what cannot be compared
``table``         mean, standard deviation, gain, gap closed
``markdown``      the table in the paper's layout
``bar_plot``      the table as bars
``publishing``    puts all of it beside the configs
``metafile``      ``metafile.yml`` and ``model-index.yml``
================  ==============================================================
"""
