"""Hung-yi Lee's Machine Learning course (Spring 2021) as software."""

__version__ = "0.1.0"
