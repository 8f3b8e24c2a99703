"""Methods that turn points, boxes and masks into masks, behind one protocol."""
