"""What tools/train.py and tools/test.py share: from a config file to a runner.

``config`` reads the file and applies flags, ``checks`` and ``weights`` find wrong data and missing
weights before anything is built, ``runner`` builds the runner.
"""
