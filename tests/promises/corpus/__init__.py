"""Wrong input by its kind: what is done to a small project, the command that is run, how its line begins."""
