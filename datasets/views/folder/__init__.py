"""Original folder layout of 3DIEBench and 3DIEBench-T."""
