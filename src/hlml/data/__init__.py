"""Data sets: splits of rows, and the order in which training reads them."""

from hlml.data.module import DataModule, Rows, Split, TensorRows, generator

__all__ = ["DataModule", "Rows", "Split", "TensorRows", "generator"]
