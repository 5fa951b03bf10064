"""What lies on disks: files, archives, their pixels, and files written whole or not at all."""
