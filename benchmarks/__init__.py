"""How good, how fast, compared with what?"""
