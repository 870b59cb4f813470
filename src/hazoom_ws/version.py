"""The version of this package. Imports nothing: everybody may ask for it."""

__version__ = "0.9.1"
