"""Tests of the document router."""
