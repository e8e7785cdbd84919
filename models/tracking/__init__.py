"""One stream's state: `Tracker.step(image)`."""
