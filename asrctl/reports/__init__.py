"""Pages that people read: one HTML file each, which needs nothing from elsewhere."""
