"""Files of a checkpoint, made anew from what else is there or refused: pure."""
