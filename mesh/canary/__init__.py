"""The canary: votes in a hidden game and watches them arrive, as a viewer does, all the time.

    votes        what became of each vote                       \
    burn_rates   how fast the error budgets are spent            }  pure
    incidents    when votes or frames stopped, and for how long /
    hidden_game  keeps the game and the poll that it votes in
    prober       sends and watches through the edge
    incident_log keeps the incidents in JetStream
"""
