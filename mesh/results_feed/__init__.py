"""How gateways and notify hear the results of games, and merge them into what is shown."""
