"""What people look at: curves, outlined slices, overlaps."""
