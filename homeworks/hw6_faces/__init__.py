"""Homework 6: generating faces."""
