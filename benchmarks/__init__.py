"""How fast the toolkit is, beside its peer and beside what the machine can do; see benchmarks/README.md."""
