"""Modules and mechanisms that several models share."""

from vivace.nn.flow import FULL, Flow, Full, Ragged, Unpadded
from vivace.nn.geometry import InputError
from vivace.nn.snake1d import Snake1d
from vivace.nn.stream import Stream

__all__ = ["FULL", "Flow", "Full", "InputError", "Ragged", "Snake1d", "Stream", "Unpadded"]
