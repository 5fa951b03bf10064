"""The loop and what it needs: state, optimizers, schedules, stopping, divergence and logs."""
