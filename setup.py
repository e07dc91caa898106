"""Only what pyproject.toml cannot say: the C kernels are compiled by cffi when the package is built."""

from setuptools import setup

setup(cffi_modules=["roman_assets/kernels/_build.py:ffibuilder"])
