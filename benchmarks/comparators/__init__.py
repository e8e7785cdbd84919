"""What OFL-SAM2 is compared with: one readable file a method, all behind one small interface.

Each file's `fit` gets the same frozen backbone and the same annotated frames and returns a
predictor. They are written from the ideas in the papers, not from anybody's code.
"""
