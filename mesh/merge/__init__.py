"""Merging partials into what viewers see; one module for each kind of topic."""

from mesh.merge.board import merge_board
from mesh.merge.pulse import merge_pulse
from mesh.merge.tally import merge_tally
from mesh.merge.topic import TopicMerge

__all__ = ["TopicMerge", "merge_board", "merge_pulse", "merge_tally"]
