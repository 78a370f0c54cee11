"""From a folder of labelled recordings to a model file with its own report."""
