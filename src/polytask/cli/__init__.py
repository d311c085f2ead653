"""The command: one file per verb. Importing it loads nothing heavy."""
