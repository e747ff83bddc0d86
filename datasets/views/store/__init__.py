"""View stores: one HDF5 file of encoded views with latents and labels."""
