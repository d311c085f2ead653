"""Speed and accuracy against floors and peers; no part of polytask, and no part of the tests."""
