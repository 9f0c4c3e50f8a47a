"""Homework 1: regression."""
