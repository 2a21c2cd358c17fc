"""What turns one step of a model into many: graphs (and, later, sampling)."""
