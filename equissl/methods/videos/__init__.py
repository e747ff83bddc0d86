"""Methods on videos, one file each."""
