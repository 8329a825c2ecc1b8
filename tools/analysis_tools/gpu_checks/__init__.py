"""What is to be measured on a machine with a GPU, step by step within a budget of minutes.

Run by ``bash tools/run_gpu_checks.sh OUT MINUTES``. ``plan`` lists the steps, ``running`` runs one
in a process of its own with a time limit, ``records`` writes what came of it, and every step has a
module of its own name.
"""
