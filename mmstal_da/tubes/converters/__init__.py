"""Public annotation files of real datasets, turned into the project's format."""
