"""Figures for people: tables, pictures, one HTML page and the model card."""
