"""What ratings are worth, as figures with intervals and warnings in words.

docs/agreement.md says what each figure means.
"""
