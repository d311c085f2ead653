"""Speed and accuracy against floors and peers; never imported by polytask, never part of the tests."""
