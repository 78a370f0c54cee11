"""Puts the stages together: the pipeline, its threads and its clock."""
