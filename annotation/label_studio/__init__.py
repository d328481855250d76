"""Rating in Label Studio: the managed server, projects and forms, answers back."""
