"""Attributes of patients in images: demo data, and what one attribute does to what is made."""
