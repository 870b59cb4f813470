"""Who comes, from where, and how much they may."""
