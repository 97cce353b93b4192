"""Measures of pastiches."""
