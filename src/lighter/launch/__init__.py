"""Jobs of SLURM: what one asks for, its submission, and what happens within it. Below what runs there."""
