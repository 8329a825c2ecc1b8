"""Measurements on a machine with a GPU, step by step within a budget of minutes.

Run them by ``bash tools/run_gpu_checks.sh OUT MINUTES``. ``plan`` lists the steps. ``running`` runs
one step in a separate process with a time limit. ``records`` writes the results. Every step has a
module with its name.
"""
