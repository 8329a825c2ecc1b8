"""Datasets of action tubes, pairs of domains, and their transforms."""
