"""Scores of painted pictures, from networks and detectors that no fit has seen."""
