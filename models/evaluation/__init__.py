"""How good weights are: out of fold, with tables, pictures and a report."""
