"""What tools/train.py and tools/test.py share: from a config file to a runner.

``config`` reads the file and applies flags, ``checks`` finds wrong data before anything is built,
``runner`` builds the runner.
"""
