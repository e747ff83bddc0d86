"""Drive stores: one HDF5 file of recorded or simulated drives."""
