"""polytask: one PyTorch model for many tasks.

Names are imported when they are first touched, so that `import polytask` costs nothing.
"""
