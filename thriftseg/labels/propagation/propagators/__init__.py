"""Methods that carry objects from an annotated frame to its neighbours, behind one protocol."""
