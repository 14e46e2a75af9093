"""Augmentation, inside the compiled training step."""
