"""Objects in two or three modalities: images, point clouds, texts."""
