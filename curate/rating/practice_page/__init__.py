"""The page on which raters practise, at the door before Label Studio."""
