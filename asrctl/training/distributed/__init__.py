"""One training on several processes: who computes which micro-batch, and how their gradients become one."""
