"""What files of rows hold, as numbers and as a figure."""
