"""The IPU side of asrctl: placement, memory, settings, and an emulated IPU for machines without one."""
