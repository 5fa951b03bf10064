"""The mesh of devices, the processes of a job, and trees of arrays."""
