"""What a person reads of a run, or of several: the evaluation report, and the comparison."""
