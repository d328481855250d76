"""Rating studies: rubrics, campaigns, who is asked what, and what comes back."""
