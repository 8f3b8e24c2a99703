"""HVSA: all frames of one video labelled with a small budget, round by round."""
