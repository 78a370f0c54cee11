"""Evaluation on recordings outside the training set, and calibration."""
