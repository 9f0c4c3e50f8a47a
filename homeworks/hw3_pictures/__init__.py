"""Homework 3: classification of pictures."""
