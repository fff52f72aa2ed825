"""Whether a rule of a game has found what it looks for; one module for each kind. Pure.

Each has `judge(rule, state, results, now_s)`: the state to go on from, what was found if anything, and when
to look again though nothing comes. It finds one thing at a time. What is found counts once its firing is
stored, and the state is stored with it (StoredNotice.rule_state): whoever takes over goes on from there, and
the rest is found then. Between firings a state is in memory alone. So what a kind remembers only since its
last firing is lost with its process, and it says what that costs.

notify.game_rules holds the states of a game's rules, notify.evaluator hears results and stores firings.
"""
