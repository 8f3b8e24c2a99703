"""The parts of `thriftseg.reports.evaluate`, which scores a folder of predictions against a folder of true labels.

`layouts` knows how data sets name their files, `pairing` brings predictions and truth together, `label_maps` reads
them, `counting` turns frames into counts (in worker processes), `scoring` counts into scores, `objects` J and F into
scores, `bootstrap` puts intervals around them, `report` holds and writes the outcome, `tables` and `confusion_picture`
show it.
"""
