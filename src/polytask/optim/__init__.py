"""Parameter roles, optimizer groups, schedules, and the optimizer's proximal metric."""
