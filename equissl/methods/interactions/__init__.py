"""Methods on interactions, one file each."""
