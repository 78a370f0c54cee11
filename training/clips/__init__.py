"""From a folder of recordings to clips with label, fold and samples."""
