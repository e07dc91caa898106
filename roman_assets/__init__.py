"""Roman Space Telescope science pipelines as a platform of partitioned, kernel-computed data assets."""

__version__ = "0.1.0"
