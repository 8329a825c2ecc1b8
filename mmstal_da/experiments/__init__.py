"""Makes the table of a pair: trains and scores every row with every seed. See README.md there.

Read in this order; a file imports only what stands above it.

===============  ===============================================================
``rows``         names, labels and configs of the rows
``fingerprint``  digests of what a result depends on: config and data
``products``     files that the run of one row makes and other rows read
``cells``        row x seed, how far it is, its lock, runs whose config has changed
``record``       ``result.json``: written, found, compared
``detections``   the detections beside a published result
``commands``     the tools that train, score and make what other rows read
``progress``     how far a training is
``running``      one cell from training to its record, and ``attempts.json``
``table``        mean, standard deviation, gain, gap closed; as Markdown
``display``      lines and a live table for the terminal; how long it will take
``scheduling``   several cells at a time on this machine
``slurm``        a cell is a job
``publishing``   table, results, ``metafile.yml`` and ``model-index.yml`` in the configs' folder
===============  ===============================================================
"""
