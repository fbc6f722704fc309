"""What a training will take: memory and time, from one measured step."""
