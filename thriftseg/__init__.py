"""Train video segmentation networks from cheap labels and know what every label cost.

Importing this package imports neither torch nor lightning; import the room you need
(`thriftseg.datasets`, `thriftseg.zoo`, `thriftseg.datamodules`, ...).
"""

__version__ = "0.1.0"
