"""One file per group of measurements; a group is a section of RESULTS.md."""
