"""Data: reading and checking tiles, folds, input pipeline, augmentation, run-length encoding, sample data."""
