"""Processor `error_type`: names errors, see `processor`."""

from processors.error_type.processor import ErrorType

__all__ = ["ErrorType"]
