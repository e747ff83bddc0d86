"""equissl: equivariant self-supervised learning, from meshes to measured rotation accuracy."""

__version__ = "0.1.0"
