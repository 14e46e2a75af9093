"""One HTML file about a prediction, for any browser."""
