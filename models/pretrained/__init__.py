"""ImageNet weights: found, read and put into an encoder."""
