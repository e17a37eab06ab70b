"""The mask: its images, the ROMs as the test port addresses them, what each bit decides, and the margins of sums."""
