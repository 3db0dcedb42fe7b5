"""What an IPU would do with a model, calculated: placement, timetable, memory, padding. Pure."""
