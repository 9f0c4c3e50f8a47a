"""Homework 5: sequence to sequence."""
