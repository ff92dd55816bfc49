"""The authentication service against real servers and real clients."""
