"""The pin oracle: real pins on the live kernel and the model's through the same schedules, step by step."""
