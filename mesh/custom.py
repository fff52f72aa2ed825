"""The name that `grandstand.fold` had before, for folds that still import it."""

from grandstand.fold import CustomEvent, CustomFold, CustomFoldFailed

__all__ = ["CustomEvent", "CustomFold", "CustomFoldFailed"]
