"""What Kaggle delivers: found, and unpacked."""
