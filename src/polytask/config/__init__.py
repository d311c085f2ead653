"""Typed run file, catalogue of names, builders."""
