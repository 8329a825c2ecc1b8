"""Makes the table of a pair: trains and scores every row with every seed.

================  ==============================================================
``cells``         row x seed, digest of its config, how far it is
``changes``       runs whose config has changed since
``data``          digests of the annotation files
``proposals``     which proposals the rows read that need a file of them
``locking``       one process per cell
``commands``      the tools that train, score and propose, alone, by torchrun or srun
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
