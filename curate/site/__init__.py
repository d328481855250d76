"""The site: a workspace in a browser, for those who lead a study. Raters never see it."""
