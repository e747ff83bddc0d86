"""Methods on the same object in several modalities: images, point clouds and words."""
