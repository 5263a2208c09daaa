"""What a user, a runner or the gateway can ask. One function is one transaction."""
