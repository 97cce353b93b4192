"""Adversarial fits: losses, gradient penalty, averaged weights, health.

A discriminator scores pictures, high for real. Every loss takes scores of any shape and returns a
scalar to minimise; `loss` selects one by name.
"""
