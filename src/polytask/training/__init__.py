"""Trainer, step, stopping, checkpoints, seeding."""
