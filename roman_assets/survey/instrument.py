"""The Wide Field Instrument in numbers (WFI: 18 detectors of 4088 x 4088 active pixels of 0.11 arcsec)."""

from __future__ import annotations

#: Side of a pixel, and of a detector in pixels.
PIXEL_ARCSEC = 0.11
PIXEL_DEG = PIXEL_ARCSEC / 3600.0
PIXEL_MAS = PIXEL_DEG * 3.6e6
SIDE_PX = 4088
