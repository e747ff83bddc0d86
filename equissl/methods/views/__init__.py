"""Methods on views of objects, one file each."""
