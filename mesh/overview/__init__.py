"""What operators look at: the few numbers that processes say of themselves, added up."""
