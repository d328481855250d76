"""How the frozen networks were trained, calibrated and measured."""
