"""Views of objects: batches, stores, builders, 3DIEBench's folder layout, live rendering."""
