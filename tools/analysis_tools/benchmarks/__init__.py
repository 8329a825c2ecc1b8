"""The parts of ``tools/analysis_tools/benchmark.py``, one file per subcommand."""
