"""Encoders: an image in, features at strides 2, 4, 8, 16 and 32 out, highest resolution first."""
