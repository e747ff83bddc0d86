"""The original 3DIEBench and 3DIEBench-T folder layout."""
