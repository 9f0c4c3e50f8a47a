"""Homework 4: who is speaking."""
