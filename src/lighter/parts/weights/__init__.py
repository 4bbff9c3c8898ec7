"""Initial, frozen and finetuned weights."""
