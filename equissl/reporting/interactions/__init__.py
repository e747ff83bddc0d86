"""Table and page of runs of kind `interactions`."""
