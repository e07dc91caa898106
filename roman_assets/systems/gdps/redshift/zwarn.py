"""Warnings of a redshift: the bits of DESI's redrock, and those that slitless spectra add."""

from __future__ import annotations

from enum import IntFlag


class ZWarn(IntFlag):
    """Bits 0 to 11 mean what they mean in redrock (desihub/redrock, zwarning.py); 0: nothing to warn of."""

    SKY = 1 << 0  #: not a source (set by whoever selects)
    LITTLE_COVERAGE = 1 << 1  #: too little of the band has good pixels
    SMALL_DELTA_CHI2 = 1 << 2  #: another redshift is nearly as good: chi2 or probability
    NEGATIVE_MODEL = 1 << 3  #: no template has a positive amplitude
    MANY_OUTLIERS = 1 << 4  #: too many pixels far from the best fit, or too far
    Z_FITLIMIT = 1 << 5  #: the best redshift is at the edge of the range
    NEGATIVE_EMISSION = 1 << 6  #: a principal line is significantly negative
    UNPLUGGED = 1 << 7  #: no data by construction: the trace misses the detector (set by whoever extracts)
    BAD_TARGET = 1 << 8  #: bad source position (set by whoever selects)
    NODATA = 1 << 9  #: no good pixel
    BAD_MINFIT = 1 << 10  #: the minimum has no width
    POORDATA = 1 << 11  #: the spectrum is hardly above its noise
    CONTAMINATION = 1 << 12  #: contaminating flux is a large part of the source's
    SINGLE_LINE = 1 << 13  #: the redshift rests on one line
    FEATURELESS = 1 << 14  #: a polynomial describes the spectrum as well


def names(bits: int) -> list[str]:
    """Names of the bits that are set."""
    return [str(flag.name) for flag in ZWarn if bits & flag]
