"""The included model world: the network of AudioSet, with a catalogue of labels."""
