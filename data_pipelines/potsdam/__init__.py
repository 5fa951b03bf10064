"""The ISPRS Potsdam benchmark of aerial pictures with masks."""
