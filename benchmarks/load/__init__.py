"""A storm of sign-ins and mail logins with an attack in it, and an audit of what was answered."""
