"""Measurements of pastiches and of the networks that paint them."""
