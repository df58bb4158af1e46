"""An adapter in other forms: zipped, as .bin, merged with its base."""
