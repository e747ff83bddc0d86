"""Tables and pages of runs on images."""
