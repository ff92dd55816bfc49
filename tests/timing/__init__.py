"""Does the time taken tell a secret? `python -m tests.timing`, after dudect (Reparaz et al., 2017)."""
