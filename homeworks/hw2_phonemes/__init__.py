"""Homework 2: the phoneme of each frame of speech."""
