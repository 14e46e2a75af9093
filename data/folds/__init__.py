"""Folds: splitting the tiles, writing the split as a tree of symlinks, reading a fold back."""
