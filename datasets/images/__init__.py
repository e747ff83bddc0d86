"""Natural images: files in their original formats, and sequences made of them."""
